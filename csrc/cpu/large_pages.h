// Large pages for large memory: a page fault costs as much for 4 KB as for 2 MB.
#pragma once

#include <stdint.h>

#include <cstddef>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fw::cpu {

inline constexpr size_t kLargePage = size_t{2} << 20;

// Asks the system for large pages; to be called before the memory is first written.
inline void prefer_large_pages(void* memory, int64_t bytes) {
#if defined(__linux__)
  const size_t first = (reinterpret_cast<size_t>(memory) + kLargePage - 1) / kLargePage * kLargePage;
  const size_t end = (reinterpret_cast<size_t>(memory) + static_cast<size_t>(bytes)) / kLargePage * kLargePage;
  if (first < end) madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);
#else
  (void)memory, (void)bytes;
#endif
}

}  // namespace fw::cpu
