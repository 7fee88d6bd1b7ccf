// Weights as an engine sees them: channels come in groups of `narrow`, each filled up to `wide` with zeros.
#pragma once

#include <stdint.h>

namespace fw {

// A view of weights [in, out] with padded rows and columns; a row of the source has `columns` numbers.
struct PaddedMatrix {
  const float* weights;
  int64_t narrow_in, wide_in, narrow_out, wide_out, columns;

  float operator()(int64_t i, int64_t j) const {
    const int64_t row = i / wide_in * narrow_in + i % wide_in, column = j / wide_out * narrow_out + j % wide_out;
    const bool real = i % wide_in < narrow_in && j % wide_out < narrow_out && column < columns;
    return real ? weights[row * columns + column] : 0.0f;
  }
};

// `count` numbers, padding included.
inline void pad_groups(float* to, const float* from, int64_t narrow, int64_t wide, int64_t count) {
  for (int64_t j = 0; j < count; ++j) to[j] = j % wide < narrow ? from[j / wide * narrow + j % wide] : 0.0f;
}

}  // namespace fw
