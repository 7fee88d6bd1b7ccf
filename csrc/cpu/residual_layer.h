// What the fused residual stack's two halves share: residual_stack.cpp checks, assembles weights, divides the work and
// adds up; residual_layer.cpp computes tiles, once per instruction set.
//
// A tile is some rows (time steps of one sequence) of one kind of channels. Results of products are float32, a row
// every stride_of(width) floats; operands are rows as the products of this type and processor take them, of row_bytes.
// Widths are multiples of kFill, so that no product has a tail.
#pragma once

#include <stdint.h>

#include "fastwave.h"

namespace fw {

inline constexpr int64_t kFill = 32;  // what the matrix unit takes at a time; all vectors divide it

inline constexpr int64_t filled(int64_t count) {
  return (count + kFill - 1) / kFill * kFill;
}

// One line of the cache more than the width: rows then do not all fall into the same few sets.
inline constexpr int64_t stride_of(int64_t width) {
  return width + 16;
}

struct Shape {
  int64_t batch, time, residual, gate, skip, condition, taps, layers;
  const int64_t* dilations;
  int64_t inputs() const { return filled(taps * residual + condition); }  // [oldest tap | ... | now | condition]
  int64_t half() const { return filled(gate); }
  int64_t sums() const { return 2 * half(); }  // [filter | gate]
  int64_t skips() const { return filled(skip); }
  int64_t carried(int64_t layer) const {  // [skip sum | stream], without stream after the last
    return skips() + (layer + 1 < layers ? filled(residual) : 0);
  }
  int64_t past(int64_t layer, int64_t tap) const { return (taps - 1 - tap) * dilations[layer]; }
};

// A matrix [inner, columns] of float32, as wide as products want it, the filling zeros.
struct Dense {
  const float* data;
  int64_t inner, columns;
};

// `streams` [L, B, T, R] and `gates` [L, B, T, G] hold float32, or bfloat16 where products are of bfloat16.
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
  const void* gates;            // or null: computed again
  float* stream_grad;           // [B, T, R]: of the layer's output, then of its input
  float* condition_grad;        // [B, T, C], added to, or null
  void* sum_grad;               // of what the gates take, [B, T] operand rows of sums, and 16 rows more
  const float* dilated;         // packed, inputs -> sums; with gates inputs -> half, the gate half alone
  const float* sum_bias;        // [sums]
  const float* out_back;        // carried -> half
  const float* dilated_back;    // by tap: sums -> filled R
  const float* condition_back;  // sums -> filled C
  bool weights;                 // whether anything but inputs is wanted
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
  int64_t forward_rows, rows;  // of a tile, there and back
  int64_t (*scratch_floats)(const Shape& shape);
  int64_t (*row_bytes)(int64_t width);  // of an operand
  int64_t (*packed_floats)(int64_t inner, int64_t columns);
  void (*pack)(const Dense& weights, float* packed);
  uint32_t (*begin)();  // in each thread, before its tiles; the result is for `end`
  void (*end)(uint32_t);
  void (*forward)(const ForwardJob& job, int64_t index, const Tile& tile, float* scratch);
  void (*sums_back)(const BackwardJob& job, const Tile& tile, const LayerSums& sums, float* scratch);
  void (*inputs_back)(const BackwardJob& job, const Tile& tile, float* scratch);
};

struct ResidualLayers {
  LayerKernels of[2];  // FW_FLOAT32, FW_BFLOAT16
};

}  // namespace fw
