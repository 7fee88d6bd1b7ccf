// The boundary of the fused residual stack: checks, weights as products want them, threads, and sums in a fixed order.
#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

#include "cpu/crew.h"
#include "cpu/isa.h"
#include "cpu/residual_layer.h"
#include "status.h"

FW_TABLE(ResidualLayers, residual_layers)

namespace fw {
namespace {

constexpr int64_t kMostThreads = 1024, kMostChannels = 1 << 16, kMostLayers = 1 << 16, kMostTaps = 1 << 10;
constexpr int64_t kMostElements = int64_t{1} << 46;
int32_t check(const char* function, const fw_stack_t* s, int32_t isa, int32_t type, int32_t threads, bool backward) {
  if (s == nullptr) return fail(FW_INVALID_ARGUMENT, "%s: stack is null", function);
  const struct {
    const char* name;
    int64_t value, least, most;
  } sizes[] = {{"batch", s->batch, 1, kMostElements},
               {"time", s->time, 1, kMostElements},
               {"residual", s->residual, 1, kMostChannels},
               {"gate", s->gate, 1, kMostChannels},
               {"skip", s->skip, 1, kMostChannels},
               {"condition", s->condition, 0, kMostChannels},
               {"taps", s->taps, 2, kMostTaps},
               {"layers", s->layers, 1, kMostLayers},
               {"type", type, FW_FLOAT32, FW_BFLOAT16},
               {"threads", threads, 1, kMostThreads}};
  for (const auto& size : sizes) {
    if (size.value < size.least || size.value > size.most) {
      return fail(FW_INVALID_ARGUMENT, "%s: %s is %lld, it must be %lld to %lld", function, size.name,
                  static_cast<long long>(size.value), static_cast<long long>(size.least),
                  static_cast<long long>(size.most));
    }
  }
  const int64_t channels = s->layers * std::max({s->residual, s->gate, s->skip, s->condition});
  if (s->batch > kMostElements / s->time || s->batch * s->time > kMostElements / channels) {
    return fail(FW_INVALID_ARGUMENT, "%s: batch %lld of time %lld is too large", function,
                static_cast<long long>(s->batch), static_cast<long long>(s->time));
  }
  const bool deep = s->layers > 1, conditioned = s->condition > 0;
  const struct {
    const char* name;
    const void* pointer;
    bool needed;
  } pointers[] = {{"dilations", s->dilations, true},
                  {"dilated", s->dilated, true},
                  {"dilated_bias", s->dilated_bias, true},
                  {"residual_weight", s->residual_weight, deep},
                  {"residual_bias", s->residual_bias, deep},
                  {"skip_weight", s->skip_weight, true},
                  {"skip_bias", s->skip_bias, true},
                  {"condition_weight", s->condition_weight, conditioned},
                  {"input", s->input, !backward},
                  {"conditioning", s->conditioning, conditioned},
                  {"streams", s->streams, true}};
  for (const auto& each : pointers) {
    if (each.needed && each.pointer == nullptr) return fail(FW_INVALID_ARGUMENT, "%s: %s is null", function, each.name);
  }
  for (int64_t layer = 0; layer < s->layers; ++layer) {
    if (s->dilations[layer] < 1 || s->dilations[layer] > kMostElements) {
      return fail(FW_INVALID_ARGUMENT, "%s: dilation %lld of layer %lld is not positive, or too large", function,
                  static_cast<long long>(s->dilations[layer]), static_cast<long long>(layer));
    }
  }
  return check_isa(function, isa);
}

Shape shape_of(const fw_stack_t& s) {
  return {s.batch, s.time, s.residual, s.gate, s.skip, s.condition, s.taps, s.layers, s.dilations};
}

// Weights of one layer as matrices. Columns of sums are [filter | gate], each half filled up.
class LayerWeights {
 public:
  LayerWeights(const fw_stack_t& stack, const Shape& shape, int64_t layer) : t_(stack), s_(shape), layer_(layer) {}

  // inputs -> sums
  Assembly dilated() const {
    Assembly matrix(s_.inputs(), s_.sums());
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
  // half -> carried
  Assembly out() const {
    Assembly matrix(s_.half(), s_.carried(layer_));
    matrix.put(skip_weight(), s_.skip, 1, s_.gate, s_.skip, 0, 0);
    if (deep()) matrix.put(residual_weight(), s_.residual, 1, s_.gate, s_.residual, 0, s_.skips());
    return matrix;
  }
  // carried -> half
  Assembly out_back() const {
    Assembly matrix(s_.carried(layer_), s_.half());
    matrix.put(skip_weight(), 1, s_.skip, s_.skip, s_.gate, 0, 0);
    if (deep()) matrix.put(residual_weight(), 1, s_.residual, s_.residual, s_.gate, s_.skips(), 0);
    return matrix;
  }
  // sums -> reached
  Assembly dilated_back(bool conditioned) const {
    Assembly matrix(s_.sums(), s_.reached(conditioned));
    const int64_t wide = 2 * s_.gate, stream = filled(s_.residual);
    for (int64_t part = 0; part < 2; ++part) {
      const int64_t row = part * s_.half();
      for (int64_t tap = 0; tap < s_.taps; ++tap) {
        const float* const from = dilated_weight() + tap * s_.residual * wide + part * s_.gate;
        matrix.put(from, 1, wide, s_.gate, s_.residual, row, tap * stream);
      }
      if (conditioned) {
        matrix.put(condition_weight() + part * s_.gate, 1, wide, s_.gate, s_.condition, row, s_.taps * stream);
      }
    }
    return matrix;
  }
  Assembly sum_bias() const {
    Assembly row(1, s_.sums());
    for (int64_t part = 0; part < 2; ++part) {
      row.put(t_.dilated_bias + layer_ * 2 * s_.gate + part * s_.gate, 0, 1, 1, s_.gate, 0, part * s_.half());
    }
    return row;
  }
  Assembly stream_bias() const {
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

Tile tile_of(const Shape& s, int64_t rows, int64_t sequence, int64_t index) {
  const int64_t first = index * rows;
  return {sequence, first, std::min(rows, s.time - first)};
}

int32_t forward(const fw_stack_t& stack, const LayerKernels& kernels, int32_t type, int32_t threads, float* skip_sum) {
  const Shape s = shape_of(stack);
  const int64_t kept_bytes = s.layers * s.batch * s.time * (type == FW_BFLOAT16 ? 2 : 4);
  prefer_large_pages(stack.streams, kept_bytes * s.residual);
  prefer_large_pages(skip_sum, s.batch * s.time * s.skip * 4);
  if (stack.gates != nullptr) prefer_large_pages(stack.gates, kept_bytes * 2 * s.gate);
  const int64_t tiles = s.batch * ((s.time + kernels.forward_rows - 1) / kernels.forward_rows);
  Shelf shelf(kernels.products);
  std::vector<const float*> dilated, out, sum_bias, stream_bias;
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    const LayerWeights weights(stack, s, layer);
    dilated.push_back(shelf.pack(weights.dilated()));
    out.push_back(shelf.pack(weights.out()));
    sum_bias.push_back(shelf.keep(weights.sum_bias()));
    stream_bias.push_back(shelf.keep(weights.stream_bias()));
  }
  std::vector<int64_t> progress(static_cast<size_t>(tiles));
  const ForwardJob job{s,
                       stack.input,
                       stack.conditioning,
                       stack.skip_bias,
                       skip_sum,
                       stack.streams,
                       stack.gates,
                       dilated.data(),
                       out.data(),
                       sum_bias.data(),
                       stream_bias.data(),
                       progress.data(),
                       std::this_thread::yield};
  Crew crew(kernels.products, kernels.scratch_floats(s), std::min<int64_t>(threads, tiles));
  crew.each(tiles, [&](int64_t index, int32_t, float* scratch) {
    kernels.forward(job, index, tile_of(s, kernels.forward_rows, index % s.batch, index / s.batch), scratch);
  });
  return FW_OK;
}

// Gradients of one layer's weights, in one piece.
int64_t sums_count(const Shape& s) {
  return s.inputs() * stride_of(s.sums()) + s.half() * stride_of(s.carried(-1)) + s.sums() + s.carried(-1);
}

LayerSums sums_of(const Shape& s, int64_t layer, float* data) {
  float* const out = data + s.inputs() * stride_of(s.sums());
  float* const sum_bias = out + s.half() * stride_of(s.carried(layer));
  return {data, out, sum_bias, sum_bias + s.sums()};
}

void give_layer(const Shape& s, int64_t layer, const LayerSums& sums, const fw_stack_gradients_t& to) {
  const auto at = [](float* tensor, int64_t offset) { return tensor == nullptr ? nullptr : tensor + offset; };
  const int64_t each = s.residual * 2 * s.gate, wide = 2 * s.gate, row = stride_of(s.sums()),
                tap_sums = filled(s.residual) * row;
  for (int64_t part = 0; part < 2; ++part) {
    const float* const from = sums.dilated + part * s.half();
    for (int64_t tap = 0; tap < s.taps; ++tap) {
      give(at(to.dilated, (layer * s.taps + tap) * each + part * s.gate), wide, from + tap * tap_sums, row, s.residual,
           s.gate);
    }
    give(at(to.condition_weight, layer * s.condition * wide + part * s.gate), wide, from + s.taps * tap_sums, row,
         s.condition, s.gate);
    give(at(to.dilated_bias, layer * wide + part * s.gate), 0, sums.sum_bias + part * s.half(), 0, 1, s.gate);
  }
  const int64_t out_row = stride_of(s.carried(layer));
  give(at(to.skip_weight, layer * s.gate * s.skip), s.skip, sums.out, out_row, s.gate, s.skip);
  if (layer + 1 < s.layers) {
    give(at(to.residual_weight, layer * s.gate * s.residual), s.residual, sums.out + s.skips(), out_row, s.gate,
         s.residual);
    give(at(to.residual_bias, layer * s.residual), 0, sums.carried + s.skips(), 0, 1, s.residual);
  } else {
    give(to.skip_bias, 0, sums.carried, 0, 1, s.skip);  // every layer sums the same
  }
}

int32_t backward(const fw_stack_t& stack, const LayerKernels& kernels, int32_t threads, const float* grad,
                 const fw_stack_gradients_t& to) {
  const Shape s = shape_of(stack);
  const int64_t rows = kernels.rows(s), tiles = (s.time + rows - 1) / rows;
  const int64_t parts = (tiles + kTilesTogether - 1) / kTilesTogether;
  const int64_t tap_floats = (s.taps - 1) * s.batch * s.time * s.residual;
  const Floats taps_now(tap_floats), taps_before(tap_floats);  // layers take turns
  Crew crew(kernels.products, kernels.scratch_floats(s), std::min<int64_t>(threads, s.batch * tiles));
  Shelf shelf(kernels.products);
  OrderedSums sums(sums_count(s), crew.size());
  std::fill_n(to.input, s.batch * s.time * s.residual, 0.0f);
  if (to.conditioning != nullptr) std::fill_n(to.conditioning, s.batch * s.time * s.condition, 0.0f);
  const bool weights = to.dilated || to.dilated_bias || to.residual_weight || to.residual_bias || to.skip_weight ||
                       to.skip_bias || to.condition_weight;
  BackwardJob job{};
  job.shape = s;
  job.grad = grad;
  job.condition = stack.conditioning;
  job.streams = stack.streams;
  job.gates = stack.gates;
  job.stream_grad = to.input;
  job.gives = taps_now.data();
  float* given = taps_before.data();
  job.condition_grad = s.condition ? to.conditioning : nullptr;
  job.weights = weights;
  for (int64_t layer = s.layers - 1; layer >= 0; --layer) {
    shelf.clear();
    const LayerWeights matrices(stack, s, layer);
    job.layer = layer;
    if (stack.gates == nullptr) {
      job.dilated = shelf.pack(matrices.dilated());
      job.sum_bias = shelf.keep(matrices.sum_bias());
    }
    job.out_back = shelf.pack(matrices.out_back());
    job.dilated_back = shelf.pack(matrices.dilated_back(job.condition_grad != nullptr));
    sums.each(crew, s.batch * parts, [&](int64_t part, float* own, float* scratch) {
      const int64_t first = part % parts * kTilesTogether;
      for (int64_t i = first; i < std::min(first + kTilesTogether, tiles); ++i) {
        kernels.backward(job, tile_of(s, rows, part / parts, i), sums_of(s, layer, own), scratch);
      }
    });
    give_layer(s, layer, sums_of(s, layer, sums.total()), to);
    std::swap(job.gives, given);
    job.given = given;
  }
  crew.each(s.batch * tiles, [&](int64_t index, int32_t, float*) {
    kernels.collect(job, tile_of(s, rows, index / tiles, index % tiles));
  });
  return FW_OK;
}

}  // namespace
}  // namespace fw

FW_API int32_t fw_residual_stack_forward_cpu(const fw_stack_t* stack, int32_t isa, int32_t type, int32_t threads,
                                             float* skip_sum) {
  constexpr const char* kName = "fw_residual_stack_forward_cpu";
  return fw::guarded(kName, [&] {
    const int32_t status = fw::check(kName, stack, isa, type, threads, false);
    if (status != FW_OK) return status;
    if (skip_sum == nullptr) return fw::fail(FW_INVALID_ARGUMENT, "%s: skip_sum is null", kName);
    return fw::forward(*stack, residual_layers_of(isa)->of[type], type, threads, skip_sum);
  });
}

FW_API int32_t fw_residual_stack_backward_cpu(const fw_stack_t* stack, int32_t isa, int32_t type, int32_t threads,
                                              const float* skip_sum_gradient, const fw_stack_gradients_t* gradients) {
  constexpr const char* kName = "fw_residual_stack_backward_cpu";
  return fw::guarded(kName, [&] {
    const int32_t status = fw::check(kName, stack, isa, type, threads, true);
    if (status != FW_OK) return status;
    if (skip_sum_gradient == nullptr || gradients == nullptr || gradients->input == nullptr) {
      return fw::fail(FW_INVALID_ARGUMENT, "%s: skip_sum_gradient, gradients or its input is null", kName);
    }
    return fw::backward(*stack, residual_layers_of(isa)->of[type], threads, skip_sum_gradient, *gradients);
  });
}
