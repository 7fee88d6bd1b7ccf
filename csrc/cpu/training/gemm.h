// What the two ways to multiply, gemm_fma.h and gemm_bf16.h, have in common.
//
// A tile is some rows (time steps) of one kind of channels. Results of products are float32, a row every
// stride_of(width) floats; operands are rows in the layout that the products of this type and processor read. Widths
// are multiples of kFill, so that no product has a tail.
#pragma once

#include <stdint.h>

namespace fw::cpu {

inline constexpr int64_t kFill = 32;  // channels that the matrix unit takes at a time; all vectors divide it

inline constexpr int64_t filled(int64_t count) {
  return (count + kFill - 1) / kFill * kFill;
}

// One line of the cache more than the width: rows then do not all fall into the same few sets.
inline constexpr int64_t stride_of(int64_t width) {
  return width + 16;
}

// A matrix [inner, columns] of float32, filled up with zeros to the sizes that products need.
struct Dense {
  const float* data;
  int64_t inner, columns;
};

// Products of one type, as code outside of the kernels uses them.
struct Gemm {
  int64_t (*packed_floats)(int64_t inner, int64_t columns);
  void (*pack)(const Dense& weights, float* packed);
  uint32_t (*begin)();  // in each thread before its tiles; the result is for `end`
  void (*end)(uint32_t);
};

}  // namespace fw::cpu
