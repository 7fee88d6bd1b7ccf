// One block of memory for an engine's weights or a thread's scratch, handed out piece by piece.
#pragma once

#include <stdint.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <new>

#include "cpu/large_pages.h"

namespace fw::cpu {

// Zeroed memory, aligned to and put into large pages where the system has them: 3.5 MB of weights fill 850 small ones.
class Arena {
 public:
  explicit Arena(int64_t bytes) : bytes_(static_cast<size_t>(std::max<int64_t>(bytes, 64))) {
    data_ = static_cast<char*>(::operator new(bytes_, std::align_val_t(alignment())));
    prefer_large_pages(data_, static_cast<int64_t>(bytes_));
    std::memset(data_, 0, bytes_);
  }
  ~Arena() { ::operator delete(data_, std::align_val_t(alignment())); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // The next `count` values, aligned to 64 bytes.
  template <class Value>
  Value* take(int64_t count) {
    char* const taken = data_ + used_;
    used_ += size_of<Value>(count);
    return reinterpret_cast<Value*>(taken);
  }
  template <class Value>
  static size_t size_of(int64_t count) {
    return (static_cast<size_t>(count) * sizeof(Value) + 63) / 64 * 64;
  }

 private:
  size_t alignment() const { return bytes_ >= kLargePage ? kLargePage : 64; }
  size_t bytes_, used_ = 0;
  char* data_;
};

}  // namespace fw::cpu
