// The boundary of the fused residual stack: checks, weights as products want them, threads, and sums in a fixed order.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "cpu/arena.h"
#include "cpu/isa.h"
#include "cpu/residual_layer.h"
#include "cpu/team.h"
#include "status.h"

FW_TABLE(ResidualLayers, residual_layers)

namespace fw {
namespace {

constexpr int64_t kMostThreads = 1024, kMostChannels = 1 << 16, kMostLayers = 1 << 16, kMostTaps = 1 << 10;
constexpr int64_t kMostElements = int64_t{1} << 46;
// Tiles whose weight gradients are summed by one thread before they join the rest in order. Of fixed size, so that
// results do not depend on the number of threads; of 1,000 rows or so, so that joining costs 1%.
constexpr int64_t kTilesTogether = 12;

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

// A matrix in the making.
class Assembly {
 public:
  Assembly(int64_t inner, int64_t columns) : inner_(inner), columns_(columns), values_(inner * columns) {}

  // `rows` x `columns` numbers from a tensor to (row, column) on; `row_step` and `step` lead through the tensor.
  void put(const float* from, int64_t row_step, int64_t step, int64_t rows, int64_t columns, int64_t row,
           int64_t column) {
    for (int64_t i = 0; i < rows; ++i) {
      float* const to = values_.data() + (row + i) * columns_ + column;
      for (int64_t j = 0; j < columns; ++j) to[j] = from[i * row_step + j * step];
    }
  }
  Dense dense() const { return {values_.data(), inner_, columns_}; }

 private:
  int64_t inner_, columns_;
  std::vector<float> values_;
};

// Weights of one layer as matrices. Columns of sums are [filter | gate], each half filled up.
class LayerWeights {
 public:
  LayerWeights(const fw_stack_t& stack, const Shape& shape, int64_t layer) : t_(stack), s_(shape), layer_(layer) {}

  // inputs -> sums, or with `half` alone -> the gate half of them
  Assembly dilated(bool half) const {
    Assembly matrix(s_.inputs(), half ? s_.half() : s_.sums());
    const int64_t rows = s_.taps * s_.residual, wide = 2 * s_.gate;
    for (int64_t part = half ? 1 : 0; part < 2; ++part) {
      const int64_t column = half ? 0 : part * s_.half();
      matrix.put(dilated_weight() + part * s_.gate, wide, 1, rows, s_.gate, 0, column);
      if (s_.condition) {
        matrix.put(condition_weight() + part * s_.gate, wide, 1, s_.condition, s_.gate, rows, column);
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
  // sums -> inputs of a tap
  Assembly dilated_back(int64_t tap) const {
    Assembly matrix(s_.sums(), filled(s_.residual));
    for (int64_t part = 0; part < 2; ++part) {
      const float* const from = dilated_weight() + tap * s_.residual * 2 * s_.gate + part * s_.gate;
      matrix.put(from, 1, 2 * s_.gate, s_.gate, s_.residual, part * s_.half(), 0);
    }
    return matrix;
  }
  // sums -> condition
  Assembly condition_back() const {
    Assembly matrix(s_.sums(), filled(s_.condition));
    for (int64_t part = 0; part < 2; ++part) {
      matrix.put(condition_weight() + part * s_.gate, 1, 2 * s_.gate, s_.gate, s_.condition, part * s_.half(), 0);
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

// Memory for floats, on 64 bytes and not cleared.
class Floats {
 public:
  explicit Floats(int64_t count) {
    const auto bytes = static_cast<size_t>(count) * sizeof(float);
    data_ = static_cast<float*>(::operator new(bytes, kAlignment));
    prefer_large_pages(data_, static_cast<int64_t>(bytes));
  }
  ~Floats() { ::operator delete(data_, kAlignment); }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  float* data() const { return data_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  float* data_;
};

// Packed matrices and copied rows, kept as long as the job runs.
class Shelf {
 public:
  explicit Shelf(const LayerKernels& kernels) : kernels_(kernels) {}
  const float* pack(const Assembly& matrix) {
    return pack(1, [&](int64_t) { return matrix; });
  }
  template <class Make>
  const float* pack(int64_t count, Make matrix) {  // matrices of one size, one after the other
    float* memory = nullptr;
    for (int64_t i = 0; i < count; ++i) {
      const Assembly assembled = matrix(i);
      const Dense dense = assembled.dense();
      const int64_t each = kernels_.packed_floats(dense.inner, dense.columns);
      if (i == 0) memory = make(count * each);
      kernels_.pack(dense, memory + i * each);
    }
    return memory;
  }
  const float* keep(const Assembly& row) {
    const Dense dense = row.dense();
    float* const memory = make(dense.columns);
    std::copy(dense.data, dense.data + dense.columns, memory);
    return memory;
  }
  void clear() { made_.clear(); }

 private:
  float* make(int64_t count) {
    made_.push_back(std::make_unique<Floats>(count));
    return made_.back()->data();
  }
  const LayerKernels& kernels_;
  std::vector<std::unique_ptr<Floats>> made_;
};

// Threads with scratch memory of their own, which take numbered pieces of work in order.
class Crew {
 public:
  Crew(const LayerKernels& kernels, const Shape& shape, int64_t threads)
      : kernels_(kernels), team_(static_cast<int32_t>(threads)) {
    for (int64_t i = 0; i < threads; ++i) {
      scratch_.push_back(std::make_unique<Floats>(kernels.scratch_floats(shape)));
    }
  }
  template <class Work>
  void each(int64_t pieces, Work work) {  // work(piece, thread, scratch)
    struct Job {
      Crew& crew;
      Work& work;
      int64_t pieces;
      std::atomic<int64_t> next{0};
    } job{*this, work, pieces};
    team_.run(
        [](void* context, int32_t thread) {
          Job& own = *static_cast<Job*>(context);
          const uint32_t before = own.crew.kernels_.begin();
          for (int64_t piece = own.next++; piece < own.pieces; piece = own.next++) {
            own.work(piece, thread, own.crew.scratch_[static_cast<size_t>(thread)]->data());
          }
          own.crew.kernels_.end(before);
        },
        &job);
  }

 private:
  const LayerKernels& kernels_;
  std::vector<std::unique_ptr<Floats>> scratch_;
  Team team_;  // last: its threads are gone before what they use
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
  if (stack.gates != nullptr) prefer_large_pages(stack.gates, kept_bytes * s.gate);
  const int64_t tiles = s.batch * ((s.time + kernels.forward_rows - 1) / kernels.forward_rows);
  Shelf shelf(kernels);
  std::vector<const float*> dilated, out, sum_bias, stream_bias;
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    const LayerWeights weights(stack, s, layer);
    dilated.push_back(shelf.pack(weights.dilated(false)));
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
  Crew crew(kernels, s, std::min<int64_t>(threads, tiles));
  crew.each(tiles, [&](int64_t index, int32_t, float* scratch) {
    kernels.forward(job, index, tile_of(s, kernels.forward_rows, index % s.batch, index / s.batch), scratch);
  });
  return FW_OK;
}

// Gradients of one layer's weights: floats in one piece, so that they are cleared and added in one go.
class Sums {
 public:
  explicit Sums(const Shape& s) : shape_(s), floats_(count(s)) {}
  LayerSums of(int64_t layer) const {
    float* const data = floats_.data();
    float* const out = data + shape_.inputs() * stride_of(shape_.sums());
    float* const sum_bias = out + shape_.half() * stride_of(shape_.carried(layer));
    return {data, out, sum_bias, sum_bias + shape_.sums()};
  }
  void clear() { std::fill_n(floats_.data(), count(shape_), 0.0f); }
  void add(const Sums& other) {
    for (int64_t i = 0; i < count(shape_); ++i) floats_.data()[i] += other.floats_.data()[i];
  }

 private:
  static int64_t count(const Shape& s) {
    return s.inputs() * stride_of(s.sums()) + s.half() * stride_of(s.carried(-1)) + s.sums() + s.carried(-1);
  }
  const Shape& shape_;
  Floats floats_;
};

// Rows and columns of sums -> a tensor of gradients, where wanted.
void give(float* to, int64_t to_row, const float* from, int64_t from_row, int64_t rows, int64_t columns) {
  if (to == nullptr) return;
  for (int64_t i = 0; i < rows; ++i) std::copy(from + i * from_row, from + i * from_row + columns, to + i * to_row);
}

void give_layer(const Shape& s, int64_t layer, const LayerSums& sums, const fw_stack_gradients_t& to) {
  const auto at = [](float* tensor, int64_t offset) { return tensor == nullptr ? nullptr : tensor + offset; };
  const int64_t rows = s.taps * s.residual, wide = 2 * s.gate, row = stride_of(s.sums());
  for (int64_t part = 0; part < 2; ++part) {
    const float* const from = sums.dilated + part * s.half();
    give(at(to.dilated, layer * rows * wide + part * s.gate), wide, from, row, rows, s.gate);
    give(at(to.condition_weight, layer * s.condition * wide + part * s.gate), wide, from + rows * row, row, s.condition,
         s.gate);
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
  const int64_t tiles = (s.time + kernels.rows - 1) / kernels.rows;
  const int64_t parts = (tiles + kTilesTogether - 1) / kTilesTogether;
  const Floats sum_grad((s.batch * s.time + 16) * kernels.row_bytes(s.sums()) / 4 + 1);
  const int64_t used = std::min<int64_t>(threads, s.batch * tiles);
  Crew crew(kernels, s, used);
  Shelf shelf(kernels);
  Sums total(s);
  std::vector<std::unique_ptr<Sums>> own;
  for (int64_t i = 0; i < used; ++i) own.push_back(std::make_unique<Sums>(s));
  std::fill_n(to.input, s.batch * s.time * s.residual, 0.0f);
  if (to.conditioning != nullptr) std::fill_n(to.conditioning, s.batch * s.time * s.condition, 0.0f);
  const bool weights = to.dilated || to.dilated_bias || to.residual_weight || to.residual_bias || to.skip_weight ||
                       to.skip_bias || to.condition_weight;
  for (int64_t layer = s.layers - 1; layer >= 0; --layer) {
    shelf.clear();
    const LayerWeights matrices(stack, s, layer);
    BackwardJob job{};
    job.shape = s;
    job.layer = layer;
    job.grad = grad;
    job.condition = stack.conditioning;
    job.streams = stack.streams;
    job.gates = stack.gates;
    job.stream_grad = to.input;
    job.condition_grad = s.condition ? to.conditioning : nullptr;
    job.sum_grad = sum_grad.data();
    job.dilated = shelf.pack(matrices.dilated(stack.gates != nullptr));
    job.sum_bias = shelf.keep(matrices.sum_bias());
    job.out_back = shelf.pack(matrices.out_back());
    job.dilated_back = shelf.pack(s.taps, [&](int64_t tap) { return matrices.dilated_back(tap); });
    job.condition_back = job.condition_grad == nullptr ? nullptr : shelf.pack(matrices.condition_back());
    job.weights = weights;
    total.clear();
    std::atomic<int64_t> turn{0};
    crew.each(s.batch * parts, [&](int64_t part, int32_t thread, float* scratch) {
      Sums& sums = *own[static_cast<size_t>(thread)];
      sums.clear();
      const int64_t first = part % parts * kTilesTogether;
      for (int64_t i = first; i < std::min(first + kTilesTogether, tiles); ++i) {
        kernels.sums_back(job, tile_of(s, kernels.rows, part / parts, i), sums.of(layer), scratch);
      }
      while (turn.load(std::memory_order_acquire) != part) std::this_thread::yield();
      total.add(sums);
      turn.store(part + 1, std::memory_order_release);
    });
    give_layer(s, layer, total.of(layer), to);
    crew.each(s.batch * tiles, [&](int64_t index, int32_t, float* scratch) {
      kernels.inputs_back(job, tile_of(s, kernels.rows, index / tiles, index % tiles), scratch);
    });
  }
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
