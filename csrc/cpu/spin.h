// Waiting for another thread's progress: first by looking again and again, then by yielding the core between looks.
// Compiled once per instruction set; see cpu/isa.h.
#pragma once

#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fw::cpu::FW_ISA {
namespace {

class Spin {
 public:
  // `yield` comes from outside, since code of one instruction set may not include <thread>.
  explicit Spin(void (*yield)()) : yield_(yield) {}

  void pause() {
    if (++looks_ > kPatience) {
      yield_();
    } else {
#if defined(__x86_64__)
      _mm_pause();
#endif
    }
  }

 private:
  static constexpr int64_t kPatience = 20000;  // looks before the first yield: about 0.5 ms
  void (*yield_)();
  int64_t looks_ = 0;
};

}  // namespace
}  // namespace fw::cpu::FW_ISA
