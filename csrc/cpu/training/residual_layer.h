// What the fused residual stack's two halves share: residual_stack.cpp checks, assembles weights, divides the work and
// adds up; residual_layer.cpp computes tiles, once per instruction set.
#pragma once

#include <stdint.h>

#include "cpu/operands.h"
#include "fastwave.h"

namespace fw {

struct Shape {
  int64_t batch, time, residual, gate, skip, condition, taps, layers;
  const int64_t* dilations;
  int64_t inputs() const { return reached(true); }
  int64_t half() const { return filled(gate); }
  int64_t sums() const { return 2 * half(); }  // [filter | gate]
  int64_t skips() const { return filled(skip); }
  int64_t carried(int64_t layer) const {  // [skip sum | stream], without stream after the last
    return skips() + (layer + 1 < layers ? filled(residual) : 0);
  }
  int64_t reached(bool conditioned) const {  // [oldest tap | ... | now | condition], each filled up
    return taps * filled(residual) + (conditioned ? filled(condition) : 0);
  }
  int64_t past(int64_t layer, int64_t tap) const { return (taps - 1 - tap) * dilations[layer]; }
};

// `streams` [L, B, T, R] and `gates` [L, B, T, tanh | sigmoid, G] hold float32; where products are of bfloat16,
// bfloat16 and integers of 16 bits with 32767 for 1.
struct ForwardJob {
  Shape shape;
  const float* x;          // [B, T, R]
  const float* condition;  // [B, T, C] or null
  const float* skip_bias;  // [S]
  float* skip_sum;         // [B, T, S]
  void* streams;
  void* gates;  // or null
  // By layer, packed: inputs -> sums, half -> carried; biases filled up with zeros.
  const float* const* dilated;
  const float* const* out;
  const float* const* sum_bias;
  const float* const* stream_bias;
  int64_t* progress;  // by tile: streams written; tiles are taken in order, so a tile waits for the one before it
  void (*yield)();
};

// One layer on the way back.
struct BackwardJob {
  Shape shape;
  int64_t layer;
  const float* grad;       // [B, T, S] of the skip sum
  const float* condition;  // as forward
  const void* streams;
  const void* gates;          // or null: computed again
  float* stream_grad;         // [B, T, R]: of the layer's output, then of its input, without what other times give
  const float* given;         // [K-1, B, T, R]: by tap of the layer above, what later times give to stream_grad
  float* gives;               // the same of this layer: other memory, since tiles are taken in any order
  float* condition_grad;      // [B, T, C], added to, or null
  const float* dilated;       // packed, inputs -> sums; null with gates, and so is the next
  const float* sum_bias;      // [sums]
  const float* out_back;      // carried -> half
  const float* dilated_back;  // sums -> reached, with condition where its gradient is wanted
  bool weights;               // whether anything but inputs is wanted
};

// Sums over a part of the time: gradients of one layer's weights.
struct LayerSums {
  float* dilated;   // [inputs, sums], a row every stride_of(sums)
  float* out;       // [half, carried], a row every stride_of(carried)
  float* sum_bias;  // [sums]
  float* carried;   // [carried]: of skip (after the last layer alone) and residual biases
};

// One tile: rows first .. first + rows - 1 of sequence `sequence`.
struct Tile {
  int64_t sequence, first, rows;
};

struct LayerKernels {
  Products products;
  int64_t forward_rows;                 // of a tile
  int64_t (*rows)(const Shape& shape);  // of a tile on the way back
  int64_t (*scratch_floats)(const Shape& shape);
  void (*forward)(const ForwardJob& job, int64_t index, const Tile& tile, float* scratch);
  void (*backward)(const BackwardJob& job, const Tile& tile, const LayerSums& sums, float* scratch);
  void (*collect)(const BackwardJob& job, const Tile& tile);  // stream_grad += given, when no layer is left
};

struct ResidualLayers {
  LayerKernels of[2];  // FW_FLOAT32, FW_BFLOAT16
};

}  // namespace fw
