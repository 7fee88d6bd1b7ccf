// Weights in the order in which the kernels read them; see Matrix in cpu/engine.h.
#pragma once

#include <functional>

#include "cpu/engine.h"

namespace fw {

// W[i, j] of a padded matrix; zero in the padding.
using Source = std::function<float(int64_t i, int64_t j)>;

int64_t packed_bytes(int64_t in, int64_t out, int32_t type);

// Fills `m.weights` (of packed_bytes), and for int8 `scale` and `offset` (of m.out), which `m` then points to.
void pack(Matrix& m, int32_t type, int64_t lanes, const Source& source, void* weights, float* scale, int32_t* offset);

}  // namespace fw
