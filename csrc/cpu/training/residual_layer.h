// What the residual stack's two halves share: residual_stack.cpp checks, packs weights, divides the work and adds up
// gradients; residual_layer.cpp computes tiles, and is compiled once per instruction set.
#pragma once

#include <stdint.h>

#include "cpu/training/gemm.h"
#include "fastwave.h"

namespace fw::cpu {

// Sizes of the tensors, and widths of a tile's buffers. A width is filled up group by group.
struct Shape {
  int64_t batch, time, residual, gate, skip, condition, taps, layers, first;
  const int64_t* dilations;
  // [L + 1]: the first step at which a wanted skip sum depends on the input of a layer; behind the last, `first`
  const int64_t* needed;
  int64_t half() const { return filled(gate); }
  int64_t preactivations() const { return 2 * half(); }  // [filter | gate]
  int64_t skips() const { return filled(skip); }
  int64_t outputs(int64_t layer) const {  // [skip sum | input of the next layer]; the last layer has the skip sum alone
    return skips() + (layer + 1 < layers ? filled(residual) : 0);
  }
  int64_t inputs(bool conditioned = true) const {  // [oldest tap | ... | now | condition]
    return taps * filled(residual) + (conditioned ? filled(condition) : 0);
  }
  int64_t delay(int64_t layer, int64_t tap) const { return (taps - 1 - tap) * dilations[layer]; }
  int64_t sums() const { return time - first; }  // skip sums of a sequence
};

// `layer_inputs` [L, B, T, R] and `tanh_sigmoid` [L, B, T, tanh | sigmoid, G] hold float32; where products are of
// bfloat16, they hold bfloat16 and integers of 16 bits with 32767 for 1.
struct ForwardJob {
  Shape shape;
  const float* x;          // [B, T, R]
  const float* condition;  // [B, T, C] or null
  const float* skip_bias;  // [S]
  float* skip_sum;         // [B, T - first, S]
  void* layer_inputs;
  void* tanh_sigmoid;   // or null
  const void* history;  // by layer [B, (K-1)*d, R], or null
  // By layer, packed: inputs -> preactivations, half -> outputs; biases filled up with zeros.
  const float* const* dilated;
  const float* const* out;
  const float* const* residual;  // half -> input of the next layer, for tiles before `first`
  const float* const* dilated_bias;
  const float* const* residual_bias;
  int64_t* progress;  // by tile: layers whose inputs are written; tiles are taken in order, and wait for earlier ones
  void (*yield)();
};

// The backward pass of one layer. A tile adds to the gradients of earlier times, which other tiles may hold. So these
// parts have buffers of their own, one for each tap but the current one, and the layer below adds them up.
struct BackwardJob {
  Shape shape;
  int64_t layer;
  const float* skip_grad;  // [B, T - first, S] of the skip sum
  void* skip_grad_rows;    // the same as operand rows, tile by tile, which all layers read
  const float* condition;  // as in the forward pass
  const void* layer_inputs;
  const void* tanh_sigmoid;     // or null: computed again
  float* x_grad;                // [B, T, R]: of the layer's output before, of its input after, without `from_later`
  const float* from_later;      // [K-1, B, T, R]: what the layer above, at later times, adds to x_grad; by its tap
  int64_t later_start;          // the first step of the layer above that has been computed; `from_later` ends there
  float* to_earlier;            // what this layer adds to earlier times; the two buffers are swapped after each layer
  float* condition_grad;        // [B, T, C], added to, or null
  const float* dilated;         // packed, inputs -> preactivations; null with tanh_sigmoid, and so is the next
  const float* dilated_bias;    // [preactivations]
  const float* out_transposed;  // outputs -> half
  const float* residual_transposed;  // input of the next layer -> half, for tiles before `first`
  const float* dilated_transposed;   // preactivations -> inputs, with condition where its gradient is wanted
  bool weights;                      // whether the gradient of any weight is wanted
};

// Gradients of one layer's weights, summed over a part of the time.
struct LayerSums {
  float* dilated;       // [inputs, preactivations], a row every stride_of(preactivations)
  float* out;           // [half, outputs], a row every stride_of(outputs)
  float* dilated_bias;  // [preactivations]
  float* out_bias;      // [outputs]: of the skip bias (after the last layer alone) and the residual bias
};

// Rows first .. first + rows - 1 of a sequence: all of them before the first skip sum, or none.
struct Tile {
  int64_t sequence, first, rows;
  bool has_sums(const Shape& s) const { return first >= s.first; }
  bool has_outputs(const Shape& s, int64_t layer) const {  // that a wanted skip sum depends on
    return first + rows > s.needed[layer + 1];
  }
};

struct LayerKernels {
  Gemm gemm;
  int64_t forward_rows;                          // of a tile
  int64_t (*backward_rows)(const Shape& shape);  // of a tile
  int64_t (*scratch_floats)(const Shape& shape);
  void (*forward)(const ForwardJob& job, int64_t index, const Tile& tile, float* scratch);
  int64_t (*skip_grad_floats)(const Shape& shape);  // of `skip_grad_rows`
  void (*put_skip_grad)(const BackwardJob& job, const Tile& tile);
  void (*backward)(const BackwardJob& job, const Tile& tile, const LayerSums& sums, float* scratch);
  void (*finish)(const BackwardJob& job, const Tile& tile);  // x_grad += from_later, after the lowest layer
};

struct ResidualLayers {
  LayerKernels of[2];  // FW_FLOAT32, FW_BFLOAT16
};

}  // namespace fw::cpu
