// What the two halves of the head and its loss share: head_loss.cpp checks, packs weights, divides the work and adds up
// gradients; head_tile.cpp computes tiles, and is compiled once per instruction set.
#pragma once

#include <checks.h>  // csrc/checks.h; in quotes it would be the one beside this file
#include <stdint.h>

#include "cpu/training/gemm.h"
#include "fastwave.h"

namespace fw::cpu {

struct HeadShape {
  int64_t rows, skip, head, outputs;
  int32_t output;  // FW_CATEGORICAL, ...
  int64_t skips() const { return filled(skip); }
  int64_t heads() const { return filled(head); }
  // A row of outputs has parts, [logits | means | log scales] of a mixture, each filled up to whole vectors.
  int64_t parts() const { return output == FW_MIXTURE ? 3 : 1; }
  int64_t part_outputs() const { return outputs / parts(); }
  int64_t part_columns() const { return padded(part_outputs()); }
  int64_t columns() const { return filled(parts() * part_columns()); }
};

struct HeadJob {
  HeadShape shape;
  const float* skip_sum;          // [N, S]
  const int64_t* target_classes;  // [N], or
  const float* target_values;     // [N]
  const float* weights;           // [N]
  float* skip_grad;               // [N, S] or null
  // Packed weights, and biases. Those of logits that only fill up a row are so low that their probability is zero.
  const float *weight0, *weight1, *weight0_transposed, *weight1_transposed;
  const float *bias0, *bias1;
  bool gradients, weight_gradients;  // whether any is wanted, and whether one of the parameters' is
};

// Gradients of the parameters, summed over a part of the rows.
struct HeadSums {
  float* weight0;  // [skips, heads], a row every stride_of(heads)
  float* weight1;  // [heads, columns], likewise
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
