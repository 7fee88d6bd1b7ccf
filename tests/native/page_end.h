// Memory on which reading or writing beyond the end fails at once.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <new>

namespace {

// Memory that ends where a page ends that may not be touched, after bytes that are NaN as floats and bfloat16: masked
// loads and those of the matrix unit, which address sanitizer does not see, cannot leave it unnoticed either.
template <class Value>
struct AtPageEnd {
  typedef Value value_type;
  AtPageEnd() = default;
  template <class Other>
  AtPageEnd(const AtPageEnd<Other>&) {}

  Value* allocate(size_t count) {
    const size_t whole = bytes(count), page = static_cast<size_t>(getpagesize());
    void* const made = mmap(nullptr, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (made == MAP_FAILED) throw std::bad_alloc();
    char* const end = static_cast<char*>(made) + whole;
    std::memset(made, 0xff, whole);
    mprotect(end, page, PROT_NONE);
    return reinterpret_cast<Value*>(end) - count;
  }
  void deallocate(Value* memory, size_t count) {
    const size_t whole = bytes(count);
    munmap(reinterpret_cast<char*>(memory + count) - whole, whole + static_cast<size_t>(getpagesize()));
  }
  bool operator==(const AtPageEnd&) const { return true; }
  bool operator!=(const AtPageEnd&) const { return false; }

 private:
  static size_t bytes(size_t count) {  // in whole pages
    const size_t page = static_cast<size_t>(getpagesize());
    return (count * sizeof(Value) + page - 1) / page * page;
  }
};

}  // namespace
