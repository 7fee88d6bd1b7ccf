// Values as they are stored between the forward and the backward pass: float32, or 16 bits where products are of
// bfloat16. Compiled once per instruction set; see cpu/isa.h.
#pragma once

#include <stdint.h>
#include <string.h>

#include "cpu/training/gemm_fma.h"

namespace fw::cpu::FW_ISA {
namespace {

template <bool kBfloat16>
struct Stored;

template <>
struct Stored<false> {
  typedef float Value;
  static void widen(const float* from, int64_t count, float* to) {
    memcpy(to, from, static_cast<size_t>(count) * sizeof *to);
  }
  static void narrow(const float* from, int64_t count, float* to) { widen(from, count, to); }
  static void narrow_unit(const float* from, int64_t count, float* to) { widen(from, count, to); }
  static void widen_unit(const float* from, int64_t count, float* to) { widen(from, count, to); }
};

template <>
struct Stored<true> {
  typedef uint16_t Value;
  static void widen(const uint16_t* from, int64_t count, float* to) { fw::cpu::FW_ISA::widen(from, count, to); }
  static void narrow(const float* from, int64_t count, uint16_t* to) {
    put(from, count, to, [](Vec value) { return Words(rounded(value)) >> 16; });
  }
  // Values between -1 and 1 as integers: 100 times as exact as bfloat16 where 1 - tanh^2 needs it.
  static void narrow_unit(const float* from, int64_t count, uint16_t* to) {
    put(from, count, to, [](Vec value) {
      return Words(multiply_add(value, fill(kOne), fill(12582912.0f)));  // as in exponential()
    });
  }
  static void widen_unit(const uint16_t* from, int64_t count, float* to) {
    for (int64_t j = 0; j < count; ++j) to[j] = static_cast<float>(static_cast<int16_t>(from[j])) * (1 / kOne);
  }

 private:
  static constexpr float kOne = 32767;
  // Writes the low half of each word that `words` makes of a vector. Tiles are filled up, so a whole one can be read.
  template <class Convert>
  static void put(const float* from, int64_t count, uint16_t* to, Convert words) {
    typedef uint16_t Halves __attribute__((vector_size(kLanes * 2)));
    int64_t j = 0;
    for (; j + kLanes <= count; j += kLanes) {
      const Halves halves = __builtin_convertvector(words(load(from + j)), Halves);
      memcpy(to + j, &halves, sizeof halves);
    }
    if (j == count) return;
    const Halves halves = __builtin_convertvector(words(load(from + j)), Halves);
    memcpy(to + j, &halves, static_cast<size_t>(count - j) * sizeof *to);
  }
};

}  // namespace
}  // namespace fw::cpu::FW_ISA
