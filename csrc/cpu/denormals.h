// Denormal numbers cost a hundred cycles each and mean nothing here: while a thread computes they are zero.
// Compiled once per instruction set; see cpu/isa.h.
#pragma once

#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fw::cpu::FW_ISA {
namespace {

// Returns the thread's setting, for `restore_denormals`.
inline uint32_t flush_denormals() {
#if defined(__x86_64__)
  const uint32_t before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);  // results flush to zero, operands count as zero
  return before;
#else
  return 0;
#endif
}

inline void restore_denormals([[maybe_unused]] uint32_t before) {
#if defined(__x86_64__)
  _mm_setcsr(before);
#endif
}

}  // namespace
}  // namespace fw::cpu::FW_ISA
