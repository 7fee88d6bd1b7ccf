// What the two halves of the head and its loss share: head_loss.cpp computes tiles, once per instruction set; head.cpp
// checks, assembles weights, divides the work and adds up.
#pragma once

#include <stdint.h>

#include "cpu/operands.h"

namespace fw {

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
  // Packed, and biases: those of the classes that only fill up are so low that their probability is zero.
  const float *weight0, *weight1, *weight0_back, *weight1_back;
  const float *bias0, *bias1;
  bool backward, weights_back;  // whether any gradient is wanted, and whether one of the parameters is
};

// Sums over a part of the rows: gradients of the parameters.
struct HeadSums {
  float* weight0;  // [skips, heads], a row every stride_of(heads)
  float* weight1;  // [heads, classes], likewise
  float* bias0;
  float* bias1;
};

struct HeadKernels {
  Products products;
  int64_t rows;  // of a tile
  int64_t (*scratch_floats)(const HeadShape& shape);
  double (*loss)(const HeadJob& job, int64_t first, int64_t rows, const HeadSums& sums, float* scratch);  // of one tile
};

struct Heads {
  HeadKernels of[2];  // FW_FLOAT32, FW_BFLOAT16
};

}  // namespace fw
