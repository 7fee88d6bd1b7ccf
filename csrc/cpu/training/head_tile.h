// What the two halves of the head and its loss share: head_loss.cpp checks, packs weights, divides the work and adds up
// gradients; head_tile.cpp computes tiles, and is compiled once per instruction set.
#pragma once

#include <stdint.h>

#include "cpu/training/gemm.h"

namespace fw::cpu {

struct HeadShape {
  int64_t rows, skip, head, outputs;
  int64_t skips() const { return filled(skip); }
  int64_t heads() const { return filled(head); }
  int64_t classes() const { return filled(outputs); }
};

struct HeadJob {
  HeadShape shape;
  const float* skip_sum;   // [N, S]
  const int64_t* targets;  // [N]
  const float* weights;    // [N]
  float* skip_grad;        // [N, S] or null
  // Packed weights, and biases. Those of classes that only fill up a row are so low that their probability is zero.
  const float *weight0, *weight1, *weight0_transposed, *weight1_transposed;
  const float *bias0, *bias1;
  bool gradients, weight_gradients;  // whether any is wanted, and whether one of the parameters' is
};

// Gradients of the parameters, summed over a part of the rows.
struct HeadSums {
  float* weight0;  // [skips, heads], a row every stride_of(heads)
  float* weight1;  // [heads, classes], likewise
  float* bias0;
  float* bias1;
};

struct HeadKernels {
  Gemm gemm;
  int64_t rows;  // of a tile
  int64_t (*scratch_floats)(const HeadShape& shape);
  double (*loss)(const HeadJob& job, int64_t first, int64_t rows, const HeadSums& sums, float* scratch);  // of one tile
};

struct Heads {
  HeadKernels of[2];  // FW_FLOAT32, FW_BFLOAT16
};

}  // namespace fw::cpu
