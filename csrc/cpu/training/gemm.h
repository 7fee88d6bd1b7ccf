// What the two ways to multiply, product_fma.h and product_amx.h, take and give.
//
// A tile is some rows (time steps) of one kind of channels. Results of products are float32, a row every
// stride_of(width) floats; operands are rows as the products of this type and processor take them. Widths are multiples
// of kFill, so that no product has a tail.
#pragma once

#include <stdint.h>

namespace fw {

inline constexpr int64_t kFill = 32;  // what the matrix unit takes at a time; all vectors divide it

inline constexpr int64_t filled(int64_t count) {
  return (count + kFill - 1) / kFill * kFill;
}

// One line of the cache more than the width: rows then do not all fall into the same few sets.
inline constexpr int64_t stride_of(int64_t width) {
  return width + 16;
}

// A matrix [inner, columns] of float32, as wide as products want it, the filling zeros.
struct Dense {
  const float* data;
  int64_t inner, columns;
};

// What is needed around products of one type.
struct Products {
  int64_t (*packed_floats)(int64_t inner, int64_t columns);
  void (*pack)(const Dense& weights, float* packed);
  uint32_t (*begin)();  // in each thread, before its tiles; the result is for `end`
  void (*end)(uint32_t);
};

}  // namespace fw
