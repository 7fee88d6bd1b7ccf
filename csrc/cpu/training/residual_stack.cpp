// The C functions of the fused residual stack: checks, weight packing, threads, and sums in a fixed order.
#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

#include "cpu/isa.h"
#include "cpu/training/checks.h"
#include "cpu/training/packing.h"
#include "cpu/training/residual_layer.h"
#include "cpu/training/workers.h"
#include "status.h"

FW_TABLE(ResidualLayers, residual_layers)

namespace fw::cpu {
namespace {

constexpr int64_t kMostLayers = 1 << 16, kMostTaps = 1 << 10, kMostElements = int64_t{1} << 46;

int32_t check(const char* operation, const fw_stack_t* s, int32_t isa, int32_t type, int32_t threads, bool backward) {
  if (s == nullptr) return fail(FW_INVALID_ARGUMENT, "%s: stack is null", operation);
  int32_t status = check_sizes(operation, {{"batch", s->batch, 1, kMostElements},
                                           {"time", s->time, 1, kMostElements},
                                           {"residual", s->residual, 1, kMostChannels},
                                           {"gate", s->gate, 1, kMostChannels},
                                           {"skip", s->skip, 1, kMostChannels},
                                           {"condition", s->condition, 0, kMostChannels},
                                           {"taps", s->taps, 2, kMostTaps},
                                           {"layers", s->layers, 1, kMostLayers},
                                           {"first", s->first, 0, std::max<int64_t>(s->time, 1) - 1},
                                           {"type", type, FW_FLOAT32, FW_BFLOAT16},
                                           {"threads", threads, 1, kMostThreads}});
  if (status != FW_OK) return status;
  const int64_t channels = s->layers * std::max({s->residual, s->gate, s->skip, s->condition});
  if (s->batch > kMostElements / s->time || s->batch * s->time > kMostElements / channels) {
    return fail(FW_INVALID_ARGUMENT, "%s: batch %lld of time %lld is too large", operation,
                static_cast<long long>(s->batch), static_cast<long long>(s->time));
  }
  if (s->history != nullptr && s->first != 0) {
    return fail(FW_INVALID_ARGUMENT, "%s: first is %lld, with a history it must be 0", operation,
                static_cast<long long>(s->first));
  }
  const bool deep = s->layers > 1, conditioned = s->condition > 0;
  status = check_pointers(operation, {{"dilations", s->dilations},
                                      {"dilated", s->dilated},
                                      {"dilated_bias", s->dilated_bias},
                                      {"residual_weight", s->residual_weight, deep},
                                      {"residual_bias", s->residual_bias, deep},
                                      {"skip_weight", s->skip_weight},
                                      {"skip_bias", s->skip_bias},
                                      {"condition_weight", s->condition_weight, conditioned},
                                      {"input", s->input, !backward},
                                      {"conditioning", s->conditioning, conditioned},
                                      {"layer_inputs", s->layer_inputs}});
  if (status != FW_OK) return status;
  int64_t left = kMostElements / (s->batch * s->residual) / (s->taps - 1);  // dilations that a history can have
  for (int64_t layer = 0; layer < s->layers; ++layer) {
    if (s->dilations[layer] < 1 || s->dilations[layer] > kMostElements) {
      return fail(FW_INVALID_ARGUMENT, "%s: dilation %lld of layer %lld is not positive, or too large", operation,
                  static_cast<long long>(s->dilations[layer]), static_cast<long long>(layer));
    }
    if (s->history != nullptr && (left -= s->dilations[layer]) < 0) {
      return fail(FW_INVALID_ARGUMENT, "%s: a history of so many steps is too large", operation);
    }
  }
  return check_isa(operation, isa);
}

// A shape, with the memory of what it points to.
class OwnedShape : public Shape {
 public:
  explicit OwnedShape(const fw_stack_t& s)
      : Shape{s.batch, s.time,   s.residual, s.gate,      s.skip, s.condition,
              s.taps,  s.layers, s.first,    s.dilations, nullptr},
        steps_(static_cast<size_t>(layers) + 1, first) {
    for (int64_t layer = layers - 1; layer >= 0; --layer) {
      int64_t& step = steps_[static_cast<size_t>(layer)];
      step = std::max<int64_t>(0, steps_[static_cast<size_t>(layer) + 1] - delay(layer, 0));
    }
    needed = steps_.data();
  }
  OwnedShape(const OwnedShape&) = delete;
  OwnedShape& operator=(const OwnedShape&) = delete;

 private:
  std::vector<int64_t> steps_;
};

// Weights of one layer as matrices. Preactivations are [filter | gate], each half filled up.
class LayerWeights {
 public:
  LayerWeights(const fw_stack_t& stack, const Shape& shape, int64_t layer) : t_(stack), s_(shape), layer_(layer) {}

  // inputs -> preactivations
  Assembly dilated() const {
    Assembly matrix(s_.inputs(), s_.preactivations());
    const int64_t wide = 2 * s_.gate, channels = filled(s_.residual);
    for (int64_t part = 0; part < 2; ++part) {
      const int64_t column = part * s_.half();
      for (int64_t tap = 0; tap < s_.taps; ++tap) {
        const float* const from = dilated_weight() + tap * s_.residual * wide + part * s_.gate;
        matrix.put(from, wide, 1, s_.residual, s_.gate, tap * channels, column);
      }
      if (s_.condition) {
        matrix.put(condition_weight() + part * s_.gate, wide, 1, s_.condition, s_.gate, s_.taps * channels, column);
      }
    }
    return matrix;
  }
  // half -> outputs
  Assembly out() const {
    Assembly matrix(s_.half(), s_.outputs(layer_));
    matrix.put(skip_weight(), s_.skip, 1, s_.gate, s_.skip, 0, 0);
    if (deep()) matrix.put(residual_weight(), s_.residual, 1, s_.gate, s_.residual, 0, s_.skips());
    return matrix;
  }
  // half -> input of the next layer
  Assembly residual() const {
    Assembly matrix(s_.half(), filled(s_.residual));
    if (deep()) matrix.put(residual_weight(), s_.residual, 1, s_.gate, s_.residual, 0, 0);
    return matrix;
  }
  // input of the next layer -> half
  Assembly residual_transposed() const {
    Assembly matrix(filled(s_.residual), s_.half());
    if (deep()) matrix.put(residual_weight(), 1, s_.residual, s_.residual, s_.gate, 0, 0);
    return matrix;
  }
  // outputs -> half
  Assembly out_transposed() const {
    Assembly matrix(s_.outputs(layer_), s_.half());
    matrix.put(skip_weight(), 1, s_.skip, s_.skip, s_.gate, 0, 0);
    if (deep()) matrix.put(residual_weight(), 1, s_.residual, s_.residual, s_.gate, s_.skips(), 0);
    return matrix;
  }
  // preactivations -> inputs
  Assembly dilated_transposed(bool conditioned) const {
    Assembly matrix(s_.preactivations(), s_.inputs(conditioned));
    const int64_t wide = 2 * s_.gate, channels = filled(s_.residual);
    for (int64_t part = 0; part < 2; ++part) {
      const int64_t row = part * s_.half();
      for (int64_t tap = 0; tap < s_.taps; ++tap) {
        const float* const from = dilated_weight() + tap * s_.residual * wide + part * s_.gate;
        matrix.put(from, 1, wide, s_.gate, s_.residual, row, tap * channels);
      }
      if (conditioned) {
        matrix.put(condition_weight() + part * s_.gate, 1, wide, s_.gate, s_.condition, row, s_.taps * channels);
      }
    }
    return matrix;
  }
  Assembly dilated_bias() const {
    Assembly row(1, s_.preactivations());
    for (int64_t part = 0; part < 2; ++part) {
      row.put(t_.dilated_bias + layer_ * 2 * s_.gate + part * s_.gate, 0, 1, 1, s_.gate, 0, part * s_.half());
    }
    return row;
  }
  Assembly residual_bias() const {
    Assembly row(1, filled(s_.residual));
    if (deep()) row.put(t_.residual_bias + layer_ * s_.residual, 0, 1, 1, s_.residual, 0, 0);
    return row;
  }

 private:
  bool deep() const { return layer_ + 1 < s_.layers; }
  const float* dilated_weight() const { return t_.dilated + layer_ * s_.taps * s_.residual * 2 * s_.gate; }
  const float* condition_weight() const { return t_.condition_weight + layer_ * s_.condition * 2 * s_.gate; }
  const float* skip_weight() const { return t_.skip_weight + layer_ * s_.gate * s_.skip; }
  const float* residual_weight() const { return t_.residual_weight + layer_ * s_.gate * s_.residual; }

  const fw_stack_t& t_;
  const Shape& s_;
  int64_t layer_;
};

// A sequence in tiles: first the steps before `first`, then those that have skip sums.
int64_t tiles_before(const Shape& s, int64_t rows) {
  return (s.first + rows - 1) / rows;
}

int64_t tiles_in(const Shape& s, int64_t rows) {
  return tiles_before(s, rows) + (s.sums() + rows - 1) / rows;
}

Tile tile_of(const Shape& s, int64_t rows, int64_t sequence, int64_t index) {
  const int64_t before = tiles_before(s, rows);
  const int64_t first = index < before ? index * rows : s.first + (index - before) * rows;
  return {sequence, first, std::min(rows, (index < before ? s.first : s.time) - first)};
}

// The first step of the tiles that have outputs of a layer.
int64_t start_of(const Shape& s, int64_t rows, int64_t layer) {
  const int64_t needed = s.needed[layer + 1];
  return needed < s.first ? needed / rows * rows : s.first;
}

int32_t forward(const fw_stack_t& stack, const LayerKernels& kernels, int32_t type, int32_t threads, float* skip_sum) {
  const OwnedShape s(stack);
  const int64_t stored_bytes = s.layers * s.batch * s.time * (type == FW_BFLOAT16 ? 2 : 4);
  prefer_large_pages(stack.layer_inputs, stored_bytes * s.residual);
  prefer_large_pages(skip_sum, s.batch * s.sums() * s.skip * 4);
  if (stack.tanh_sigmoid != nullptr) prefer_large_pages(stack.tanh_sigmoid, stored_bytes * 2 * s.gate);
  const int64_t tiles = s.batch * tiles_in(s, kernels.forward_rows);
  Workers workers(kernels.gemm, kernels.scratch_floats(s), std::min<int64_t>(threads, tiles));
  const auto layers = static_cast<size_t>(s.layers);
  PackedWeights packed(kernels.gemm);
  std::vector<const float*> dilated(layers), out(layers), residual(layers), dilated_bias(layers), residual_bias(layers);
  workers.each(s.layers, [&](int64_t layer, int32_t, float*) {
    const LayerWeights weights(stack, s, layer);
    const auto i = static_cast<size_t>(layer);
    dilated[i] = packed.pack(weights.dilated());
    out[i] = packed.pack(weights.out());
    residual[i] = s.first ? packed.pack(weights.residual()) : nullptr;
    dilated_bias[i] = packed.copy(weights.dilated_bias());
    residual_bias[i] = packed.copy(weights.residual_bias());
  });
  std::vector<int64_t> progress(static_cast<size_t>(tiles));
  const ForwardJob job{s,
                       stack.input,
                       stack.conditioning,
                       stack.skip_bias,
                       skip_sum,
                       stack.layer_inputs,
                       stack.tanh_sigmoid,
                       stack.history,
                       dilated.data(),
                       out.data(),
                       residual.data(),
                       dilated_bias.data(),
                       residual_bias.data(),
                       progress.data(),
                       std::this_thread::yield};
  workers.each(tiles, [&](int64_t index, int32_t, float* scratch) {
    kernels.forward(job, index, tile_of(s, kernels.forward_rows, index % s.batch, index / s.batch), scratch);
  });
  return FW_OK;
}

// How many floats the gradients of one layer's weights take.
int64_t sums_count(const Shape& s) {
  return s.inputs() * stride_of(s.preactivations()) + s.half() * stride_of(s.outputs(-1)) + s.preactivations() +
         s.outputs(-1);
}

LayerSums sums_of(const Shape& s, int64_t layer, float* data) {
  float* const out = data + s.inputs() * stride_of(s.preactivations());
  float* const dilated_bias = out + s.half() * stride_of(s.outputs(layer));
  return {data, out, dilated_bias, dilated_bias + s.preactivations()};
}

void copy_layer_gradients(const Shape& s, int64_t layer, const LayerSums& sums, const fw_stack_gradients_t& to) {
  const auto at = [](float* tensor, int64_t offset) { return tensor == nullptr ? nullptr : tensor + offset; };
  const int64_t each = s.residual * 2 * s.gate, wide = 2 * s.gate, row = stride_of(s.preactivations()),
                tap_sums = filled(s.residual) * row;
  for (int64_t part = 0; part < 2; ++part) {
    const float* const from = sums.dilated + part * s.half();
    for (int64_t tap = 0; tap < s.taps; ++tap) {
      copy_gradient(at(to.dilated, (layer * s.taps + tap) * each + part * s.gate), wide, from + tap * tap_sums, row,
                    s.residual, s.gate);
    }
    copy_gradient(at(to.condition_weight, layer * s.condition * wide + part * s.gate), wide, from + s.taps * tap_sums,
                  row, s.condition, s.gate);
    copy_gradient(at(to.dilated_bias, layer * wide + part * s.gate), 0, sums.dilated_bias + part * s.half(), 0, 1,
                  s.gate);
  }
  const int64_t out_row = stride_of(s.outputs(layer));
  copy_gradient(at(to.skip_weight, layer * s.gate * s.skip), s.skip, sums.out, out_row, s.gate, s.skip);
  if (layer + 1 < s.layers) {
    copy_gradient(at(to.residual_weight, layer * s.gate * s.residual), s.residual, sums.out + s.skips(), out_row,
                  s.gate, s.residual);
    copy_gradient(at(to.residual_bias, layer * s.residual), 0, sums.out_bias + s.skips(), 0, 1, s.residual);
  } else {
    copy_gradient(to.skip_bias, 0, sums.out_bias, 0, 1, s.skip);  // the sum is the same in every layer
  }
}

int32_t backward(const fw_stack_t& stack, const LayerKernels& kernels, int32_t threads, const float* grad,
                 const fw_stack_gradients_t& to) {
  const OwnedShape s(stack);
  const int64_t rows = kernels.backward_rows(s), tiles = tiles_in(s, rows);
  const int64_t per_sum = tiles_per_sum(rows), parts = (tiles + per_sum - 1) / per_sum;
  const int64_t tap_floats = (s.taps - 1) * s.batch * s.time * s.residual;
  const Floats skip_grad_rows(kernels.skip_grad_floats(s));
  const Floats to_earlier[] = {Floats(tap_floats), Floats(tap_floats)};  // of even and of odd layers
  Workers workers(kernels.gemm, kernels.scratch_floats(s), std::min<int64_t>(threads, s.batch * tiles));
  PackedWeights packed(kernels.gemm);
  OrderedSums sums(sums_count(s), workers.size());
  std::fill_n(to.input, s.batch * s.time * s.residual, 0.0f);
  if (to.conditioning != nullptr) std::fill_n(to.conditioning, s.batch * s.time * s.condition, 0.0f);
  const bool weights = to.dilated || to.dilated_bias || to.residual_weight || to.residual_bias || to.skip_weight ||
                       to.skip_bias || to.condition_weight;
  const auto job_of = [&](int64_t layer) {  // without the layer's weights; -1 is below the lowest layer
    BackwardJob job{};
    job.shape = s;
    job.layer = layer;
    job.skip_grad = grad;
    job.skip_grad_rows = skip_grad_rows.data();
    job.condition = stack.conditioning;
    job.layer_inputs = stack.layer_inputs;
    job.tanh_sigmoid = stack.tanh_sigmoid;
    job.x_grad = to.input;
    job.to_earlier = to_earlier[layer & 1].data();
    job.from_later = to_earlier[(layer + 1) & 1].data();
    job.later_start = layer + 1 < s.layers ? start_of(s, rows, layer + 1) : s.time;
    job.condition_grad = s.condition ? to.conditioning : nullptr;
    job.weights = weights;
    return job;
  };
  workers.each(s.batch * tiles, [&, job = job_of(-1)](int64_t index, int32_t, float*) {
    const Tile tile = tile_of(s, rows, index / tiles, index % tiles);
    if (tile.has_sums(s)) kernels.put_skip_grad(job, tile);
  });
  std::vector<BackwardJob> jobs(static_cast<size_t>(s.layers));
  workers.each(s.layers, [&](int64_t layer, int32_t, float*) {
    const LayerWeights matrices(stack, s, layer);
    BackwardJob job = job_of(layer);
    if (stack.tanh_sigmoid == nullptr) {
      job.dilated = packed.pack(matrices.dilated());
      job.dilated_bias = packed.copy(matrices.dilated_bias());
    }
    job.out_transposed = packed.pack(matrices.out_transposed());
    if (s.first) job.residual_transposed = packed.pack(matrices.residual_transposed());
    job.dilated_transposed = packed.pack(matrices.dilated_transposed(job.condition_grad != nullptr));
    jobs[static_cast<size_t>(layer)] = job;
  });
  for (int64_t layer = s.layers - 1; layer >= 0; --layer) {
    const BackwardJob& job = jobs[static_cast<size_t>(layer)];
    sums.each(workers, s.batch * parts, [&](int64_t part, float* part_sums, float* scratch) {
      const int64_t first = part % parts * per_sum;
      for (int64_t i = first; i < std::min(first + per_sum, tiles); ++i) {
        const Tile tile = tile_of(s, rows, part / parts, i);
        if (tile.has_outputs(s, layer)) kernels.backward(job, tile, sums_of(s, layer, part_sums), scratch);
      }
    });
    copy_layer_gradients(s, layer, sums_of(s, layer, sums.total()), to);
  }
  workers.each(s.batch * tiles, [&, job = job_of(-1)](int64_t index, int32_t, float*) {
    kernels.finish(job, tile_of(s, rows, index / tiles, index % tiles));
  });
  return FW_OK;
}

}  // namespace
}  // namespace fw::cpu

FW_API int32_t fw_residual_stack_forward_cpu(const fw_stack_t* stack, int32_t isa, int32_t type, int32_t threads,
                                             float* skip_sum) {
  constexpr const char* kOperation = "residual stack, forward pass";
  return fw::guarded(kOperation, [&] {
    const int32_t status = fw::cpu::check(kOperation, stack, isa, type, threads, false);
    if (status != FW_OK) return status;
    if (skip_sum == nullptr) return fw::fail(FW_INVALID_ARGUMENT, "%s: skip_sum is null", kOperation);
    return fw::cpu::forward(*stack, residual_layers_of(isa)->of[type], type, threads, skip_sum);
  });
}

FW_API int32_t fw_residual_stack_backward_cpu(const fw_stack_t* stack, int32_t isa, int32_t type, int32_t threads,
                                              const float* skip_sum_gradient, const fw_stack_gradients_t* gradients) {
  constexpr const char* kOperation = "residual stack, backward pass";
  return fw::guarded(kOperation, [&] {
    const int32_t status = fw::cpu::check(kOperation, stack, isa, type, threads, true);
    if (status != FW_OK) return status;
    if (stack->history != nullptr) {
      return fw::fail(FW_INVALID_ARGUMENT, "%s: history is not null: whole sequences alone are trained on", kOperation);
    }
    if (skip_sum_gradient == nullptr || gradients == nullptr || gradients->input == nullptr) {
      return fw::fail(FW_INVALID_ARGUMENT, "%s: skip_sum_gradient, gradients or its input is null", kOperation);
    }
    return fw::cpu::backward(*stack, residual_layers_of(isa)->of[type], threads, skip_sum_gradient, *gradients);
  });
}
