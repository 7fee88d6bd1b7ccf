// Puts weights into the order in which the kernels read them; see Matrix in cpu/generation/engine.h.
#pragma once

#include "cpu/generation/engine.h"
#include "padding.h"

namespace fw::cpu {

int64_t packed_bytes(int64_t in, int64_t out, int32_t type);

// Fills `m.weights` (of packed_bytes), and for int8 `scale` and `offset` (of m.out), which `m` then points to.
void pack(Matrix& m, int64_t lanes, const PaddedMatrix& source, void* weights, float* scale, int32_t* offset);

}  // namespace fw::cpu
