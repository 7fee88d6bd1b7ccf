// One tile of the residual stack, forward and backward. Compiled once per instruction set; see cpu/isa.h.
//
//   forward   for each layer: taps -> preactivations -> z -> [skip sum | input of the next layer]
//   backward  of one layer: gradients of [skip sum | output] -> of z -> of the preactivations, which are stored or
//             computed again -> of the layer's input now and d, 2d, ... earlier, and of the condition; and those of its
//             weights
#include "cpu/training/residual_layer.h"

#include "cpu/spin.h"
#include "cpu/training/stored.h"
#include "cpu/training/tile_common.h"

namespace fw::cpu::FW_ISA {
namespace {

// A thread's scratch. Operand rows end in _rows; `right` and `transposed` are memory for rows in another layout.
template <class P>
struct Tiles {
  typedef typename P::Value Value;
  float *preactivation, *z, *outputs, *z_grad, *x_grad, *input_grad, *strip;
  Value *tap_rows, *z_rows, *x_grad_rows, *preactivation_grad_rows, *right, *transposed;
  int64_t floats;

  Tiles(const Shape& s, float* base, int64_t rows) {
    Scratch memory(base);
    const int64_t half = s.half(), channels = filled(s.residual);
    preactivation = memory.tile(rows, s.preactivations());
    z = memory.tile(rows, half);
    outputs = memory.tile(rows, s.outputs(-1));
    z_grad = memory.tile(rows, half);
    x_grad = memory.tile(rows, channels);
    input_grad = memory.tile(rows, s.inputs());
    strip = memory.take(P::strip_floats(widest(rows, widest(s.inputs(), half))));
    tap_rows = memory.values<Value>(rows * P::row_values(s.inputs()));
    z_rows = memory.values<Value>(rows * P::row_values(half));
    x_grad_rows = memory.values<Value>(rows * P::row_values(channels));
    preactivation_grad_rows = memory.values<Value>(rows * P::row_values(s.preactivations()));
    right = memory.values<Value>(P::right_values(rows));
    transposed = memory.values<Value>(P::transposed_values(rows, widest(s.inputs(), half)));
    floats = memory.used();
  }
};

// The inputs of a layer's dilated product: a row for each time of the tile. Times before the first are in `history`,
// by layer [B, (K-1)*d, R]; where it is null, they are zeros.
template <class P>
void gather(const Shape& s, int64_t layer, const void* layer_inputs, const void* history, const float* condition,
            const Tile& tile, typename P::Value* rows) {
  typedef typename Stored<P::kBfloat16>::Value Value;
  const int64_t slots = s.delay(layer, 0);
  const Value* past = static_cast<const Value*>(history);
  if (past != nullptr) {
    for (int64_t below = 0; below < layer; ++below) past += s.batch * s.delay(below, 0) * s.residual;
    past += tile.sequence * slots * s.residual;
  }
  const Value* const x =
      static_cast<const Value*>(layer_inputs) + (layer * s.batch + tile.sequence) * s.time * s.residual;
  const int64_t width = s.inputs(), channels = filled(s.residual);
  for (int64_t i = 0; i < tile.rows; ++i) {
    const int64_t now = tile.first + i;
    for (int64_t tap = 0; tap < s.taps; ++tap) {
      const int64_t then = now - s.delay(layer, tap);
      if (then < 0 && past == nullptr) {
        P::put_zeros(s.residual, rows, width, i, tap * channels);
      } else if (then < 0) {
        P::put(past + (slots + then) * s.residual, s.residual, rows, width, i, tap * channels);
      } else {
        P::put(x + then * s.residual, s.residual, rows, width, i, tap * channels);
      }
    }
    if (s.condition) {
      P::put(condition + (tile.sequence * s.time + now) * s.condition, s.condition, rows, width, i, s.taps * channels);
    }
  }
}

// Rows of a tensor [B, T, width] <-> columns of a tile. A tensor of skip sums is [B, T - first, width].
void read_rows(const float* tensor, const Shape& s, int64_t width, const Tile& tile, float* to, int64_t stride,
               int64_t columns) {
  for (int64_t i = 0; i < tile.rows; ++i) {
    Stored<false>::widen(tensor + (tile.sequence * s.time + tile.first + i) * width, width, to + i * stride);
    clear(to + i * stride + width, columns - width);
  }
}

template <bool kBfloat16, class Value>
void write_rows(const float* from, int64_t stride, const Shape& s, int64_t width, const Tile& tile, Value* tensor) {
  for (int64_t i = 0; i < tile.rows; ++i) {
    Stored<kBfloat16>::narrow(from + i * stride, width, tensor + (tile.sequence * s.time + tile.first + i) * width);
  }
}

// Waits until all earlier tiles of this sequence have written their inputs of `layer`; this one has, too.
void await_layer_inputs(const ForwardJob& job, int64_t index, int64_t layer) {
  const int64_t before = index - job.shape.batch;  // tiles of all sequences take turns
  Spin spin(job.yield);
  while (before >= 0 && __atomic_load_n(job.progress + before, __ATOMIC_ACQUIRE) <= layer) spin.pause();
  __atomic_store_n(job.progress + index, layer + 1, __ATOMIC_RELEASE);
}

// Ends a tile whose outputs from `layer` on nothing depends on: they are zeros.
template <class Value>
void leave(const ForwardJob& job, int64_t index, int64_t layer, const Tile& tile) {
  const Shape& s = job.shape;
  const auto zero = [&](void* tensor, int64_t of_layer, int64_t width) {
    const int64_t row = (of_layer * s.batch + tile.sequence) * s.time + tile.first;
    memset(static_cast<Value*>(tensor) + row * width, 0, static_cast<size_t>(tile.rows * width) * sizeof(Value));
  };
  for (int64_t above = layer; above < s.layers; ++above) {
    if (above > layer) zero(job.layer_inputs, above, s.residual);
    if (job.tanh_sigmoid != nullptr) zero(job.tanh_sigmoid, above, 2 * s.gate);
  }
  __atomic_store_n(job.progress + index, s.layers, __ATOMIC_RELEASE);
}

// A row of preactivations without bias -> tanh and sigmoid in their places, and z, the product of both.
void activate(float* row, const float* bias, int64_t half, float* z) {
  for (int64_t j = 0; j < half; j += kLanes) {
    const TanhSigmoid factors =
        tanh_sigmoid_of(load(row + j) + load(bias + j), load(row + half + j) + load(bias + half + j));
    store(row + j, factors.tanh);
    store(row + half + j, factors.sigmoid);
    store(z + j, factors.tanh * factors.sigmoid);
  }
}

template <class P>
void forward(const ForwardJob& job, int64_t index, const Tile& tile, float* scratch) {
  using Value = typename Stored<P::kBfloat16>::Value;
  const Shape& s = job.shape;
  const Tiles<P> t(s, scratch, P::kForwardRows);
  const int64_t output_row = stride_of(s.outputs(-1)), skips = s.skips(), half = s.half(), wide = s.preactivations();
  float* const x = t.outputs + skips;
  for (int64_t i = 0; tile.has_sums(s) && i < tile.rows; ++i) {
    float* const row = t.outputs + i * output_row;
    memcpy(row, job.skip_bias, static_cast<size_t>(s.skip) * sizeof(float));
    clear(row + s.skip, skips - s.skip);
  }
  read_rows(job.x, s, s.residual, tile, x, output_row, filled(s.residual));
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    Value* const layer_inputs = static_cast<Value*>(job.layer_inputs) + layer * s.batch * s.time * s.residual;
    write_rows<P::kBfloat16>(x, output_row, s, s.residual, tile, layer_inputs);
    await_layer_inputs(job, index, layer);
    if (!tile.has_outputs(s, layer)) return leave<Value>(job, index, layer, tile);
    gather<P>(s, layer, job.layer_inputs, job.history, job.condition, tile, t.tap_rows);
    const typename P::Left taps = P::left(t.tap_rows, s.inputs());
    P::multiply(&taps, 1, P::packed(job.dilated[layer], s.inputs()), tile.rows, wide, t.preactivation, stride_of(wide),
                false, t.strip);
    const float* const bias = job.dilated_bias[layer];
    for (int64_t i = 0; i < tile.rows; ++i) {
      float* const factors = t.preactivation + i * stride_of(wide);
      float* const z = t.z + i * stride_of(half);
      activate(factors, bias, half, z);
      if (job.tanh_sigmoid != nullptr) {
        const int64_t row = (layer * s.batch + tile.sequence) * s.time + tile.first + i;
        Value* const to = static_cast<Value*>(job.tanh_sigmoid) + row * 2 * s.gate;
        Stored<P::kBfloat16>::narrow_unit(factors, s.gate, to);
        Stored<P::kBfloat16>::narrow_unit(factors + half, s.gate, to + s.gate);
      }
      P::put(z, half, t.z_rows, half, i, 0);
    }
    if (layer + 1 < s.layers) {
      for (int64_t i = 0; i < tile.rows; ++i) {
        float* const row = x + i * output_row;
        for (int64_t j = 0; j < filled(s.residual); j += kLanes) {
          store(row + j, load(row + j) + load(job.residual_bias[layer] + j));
        }
      }
    }
    const typename P::Left z = P::left(t.z_rows, half);
    if (tile.has_sums(s)) {
      P::multiply(&z, 1, P::packed(job.out[layer], half), tile.rows, s.outputs(layer), t.outputs, output_row, true,
                  t.strip);
    } else {
      P::multiply(&z, 1, P::packed(job.residual[layer], half), tile.rows, filled(s.residual), x, output_row, true,
                  t.strip);
    }
  }
  for (int64_t i = 0; i < tile.rows; ++i) {
    float* const to = job.skip_sum + (tile.sequence * s.sums() + tile.first - s.first + i) * s.skip;
    memcpy(to, t.outputs + i * output_row, static_cast<size_t>(s.skip) * sizeof(float));
  }
}

// The gradient of the skip sum in a tile that has sums, and its place as operand rows.
const float* skip_gradients(const BackwardJob& job, const Tile& tile) {
  const Shape& s = job.shape;
  return job.skip_grad + (tile.sequence * s.sums() + tile.first - s.first) * s.skip;
}

template <class P>
int64_t backward_rows(const Shape& s) {
  return P::backward_rows(s.inputs() * s.preactivations() + s.half() * s.outputs(-1));
}

template <class P>
int64_t skip_gradient_values(const Shape& s) {  // of a tile
  return backward_rows<P>(s) * P::row_values(s.skips());
}

template <class P>
int64_t tiles_with_sums(const Shape& s) {  // of a sequence
  return (s.sums() + backward_rows<P>(s) - 1) / backward_rows<P>(s);
}

template <class P>
typename P::Value* skip_gradient_rows(const BackwardJob& job, const Tile& tile) {
  const Shape& s = job.shape;
  const int64_t index = tile.sequence * tiles_with_sums<P>(s) + (tile.first - s.first) / backward_rows<P>(s);
  return static_cast<typename P::Value*>(job.skip_grad_rows) + index * skip_gradient_values<P>(s);
}

template <class P>
int64_t skip_grad_floats(const Shape& s) {
  return s.batch * tiles_with_sums<P>(s) * skip_gradient_values<P>(s) *
         static_cast<int64_t>(sizeof(typename P::Value)) / 4;
}

template <class P>
void put_skip_grad(const BackwardJob& job, const Tile& tile) {
  const int64_t skip = job.shape.skip;
  put_rows<P>(skip_gradients(job, tile), skip, tile.rows, skip, skip_gradient_rows<P>(job, tile));
}

// From the gradient of z, and from tanh and sigmoid, stored or of the preactivations -> the gradient of the
// preactivations, in their place and as operand rows; z as operand rows too.
template <class P>
void preactivation_gradients(const BackwardJob& job, const Tile& tile, const Tiles<P>& t, float* bias_grad) {
  using Row = Stored<P::kBfloat16>;
  const Shape& s = job.shape;
  const auto* const next = skip_gradient_rows<P>(job, tile) + skip_gradient_values<P>(s);
  const int64_t half = s.half(), wide = s.preactivations(), stride = stride_of(wide),
                row_values = P::row_values(s.skips());
  const auto* const stored = static_cast<const typename Row::Value*>(job.tanh_sigmoid);
  for (int64_t i = 0; i < tile.rows; ++i) {
    float* const row = t.preactivation + i * stride;
    float* const z = t.z + i * stride_of(half);
    const float* const z_grad = t.z_grad + i * stride_of(half);
    // The next tile begins with these. At `ref` reading them then takes 32 ms of a step, not 57; this loop takes 15
    // more.
    for (int64_t j = 0; tile.has_sums(s) && j < row_values; j += 64 / sizeof *next) {
      __builtin_prefetch(next + i * row_values + j, 0, 2);
    }
    if (stored == nullptr) {
      activate(row, job.dilated_bias, half, z);
    } else {
      const int64_t from = (job.layer * s.batch + tile.sequence) * s.time + tile.first + i;
      for (int64_t part = 0; part < 2; ++part) {
        Row::widen_unit(stored + (from * 2 + part) * s.gate, s.gate, row + part * half);
        clear(row + part * half + s.gate, half - s.gate);
      }
    }
    for (int64_t j = 0; j < half; j += kLanes) {
      const Vec tanh = load(row + j), sigmoid = load(row + half + j), grad = load(z_grad + j) * sigmoid;
      store(z + j, tanh * sigmoid);
      store(row + j, grad * (1.0f - tanh * tanh));
      store(row + half + j, grad * tanh * (1.0f - sigmoid));
    }
    if (i % kRowsPerSum == kRowsPerSum - 1 || i + 1 == tile.rows) {
      const int64_t first = i / kRowsPerSum * kRowsPerSum;
      add_columns(t.preactivation + first * stride, stride, i + 1 - first, wide, bias_grad);
    }
    P::put(row, wide, t.preactivation_grad_rows, wide, i, 0);
    if (job.weights) P::put(z, half, t.z_rows, half, i, 0);
  }
}

// Row += the gradients from later times, through the taps of `layer`.
void add_from_later(const BackwardJob& job, int64_t layer, int64_t sequence, int64_t now, float* row) {
  const Shape& s = job.shape;
  for (int64_t tap = 0; tap + 1 < s.taps; ++tap) {
    const int64_t later_time = now + s.delay(layer, tap);
    if (later_time >= s.time || later_time < job.later_start) continue;  // there is nothing
    const float* const later = job.from_later + ((tap * s.batch + sequence) * s.time + now) * s.residual;
    for (int64_t j = 0; j < s.residual; ++j) row[j] += later[j];
  }
}

// From the gradients of the preactivations -> those of all inputs of the dilated product.
template <class P>
void input_gradients(const BackwardJob& job, const Tile& tile, const Tiles<P>& t) {
  const Shape& s = job.shape;
  const int64_t inputs = s.inputs(job.condition_grad != nullptr), row = stride_of(inputs),
                channels = filled(s.residual), now_tap = s.taps - 1, wide = s.preactivations();
  const typename P::Left grads = P::left(t.preactivation_grad_rows, wide);
  P::multiply(&grads, 1, P::packed(job.dilated_transposed, wide), tile.rows, inputs, t.input_grad, row, false, t.strip);
  for (int64_t i = 0; i < tile.rows; ++i) {
    const float* const from = t.input_grad + i * row;
    const float* const before = t.x_grad + i * stride_of(channels);
    const int64_t now = tile.first + i;
    float* const to = job.x_grad + (tile.sequence * s.time + now) * s.residual;
    for (int64_t j = 0; j < s.residual; ++j) to[j] = before[j] + from[now_tap * channels + j];
    for (int64_t tap = 0; tap < now_tap; ++tap) {
      const int64_t then = now - s.delay(job.layer, tap);
      if (then < 0) continue;
      float* const earlier = job.to_earlier + ((tap * s.batch + tile.sequence) * s.time + then) * s.residual;
      memcpy(earlier, from + tap * channels, static_cast<size_t>(s.residual) * sizeof(float));
    }
    if (job.condition_grad == nullptr) continue;
    float* const condition = job.condition_grad + (tile.sequence * s.time + now) * s.condition;
    for (int64_t j = 0; j < s.condition; ++j) condition[j] += from[s.taps * channels + j];
  }
}

template <class P>
void backward(const BackwardJob& job, const Tile& tile, const LayerSums& total, float* scratch) {
  const Shape& s = job.shape;
  const Tiles<P> t(s, scratch, P::kBackwardRows);
  const int64_t half = s.half(), wide = s.preactivations(), inputs = s.inputs(), skips = s.skips(),
                channels = filled(s.residual);
  const int64_t outputs = s.outputs(job.layer), x_row = stride_of(channels);
  const bool deep = outputs > skips;  // not the last layer
  const bool has_sums = tile.has_sums(s);
  const typename P::Value* const skip_grad_rows = has_sums ? skip_gradient_rows<P>(job, tile) : nullptr;
  read_rows(job.x_grad, s, s.residual, tile, t.x_grad, x_row, channels);
  if (deep) {
    for (int64_t i = 0; i < tile.rows; ++i) {
      add_from_later(job, job.layer + 1, tile.sequence, tile.first + i, t.x_grad + i * x_row);
    }
    put_rows<P>(t.x_grad, x_row, tile.rows, channels, t.x_grad_rows);
  }
  const typename P::Left out[] = {P::left(skip_grad_rows, skips), P::left(t.x_grad_rows, channels)};
  if (has_sums) {
    P::multiply(out, deep ? 2 : 1, P::packed(job.out_transposed, outputs), tile.rows, half, t.z_grad, stride_of(half),
                false, t.strip);
  } else {
    P::multiply(out + 1, 1, P::packed(job.residual_transposed, channels), tile.rows, half, t.z_grad, stride_of(half),
                false, t.strip);
  }
  gather<P>(s, job.layer, job.layer_inputs, nullptr, job.condition, tile, t.tap_rows);
  if (job.tanh_sigmoid == nullptr) {
    const typename P::Left taps = P::left(t.tap_rows, inputs);
    P::multiply(&taps, 1, P::packed(job.dilated, inputs), tile.rows, wide, t.preactivation, stride_of(wide), false,
                t.strip);
  }
  preactivation_gradients<P>(job, tile, t, total.dilated_bias);
  input_gradients<P>(job, tile, t);
  if (!job.weights) return;
  const typename P::Left taps = P::transposed(t.tap_rows, tile.rows, inputs, t.transposed);
  P::multiply(&taps, 1, P::right(t.preactivation_grad_rows, tile.rows, wide, t.right), inputs, wide, total.dilated,
              stride_of(wide), true, t.strip);
  const typename P::Left z = P::transposed(t.z_rows, tile.rows, half, t.transposed);
  if (has_sums) {
    P::multiply(&z, 1, P::right(skip_grad_rows, tile.rows, skips, t.right), half, skips, total.out, stride_of(outputs),
                true, t.strip);
  }
  if (deep) {
    P::multiply(&z, 1, P::right(t.x_grad_rows, tile.rows, channels, t.right), half, channels, total.out + skips,
                stride_of(outputs), true, t.strip);
    add_columns(t.x_grad, x_row, tile.rows, channels, total.out_bias + skips);
  } else {
    add_columns(skip_gradients(job, tile), s.skip, tile.rows, s.skip, total.out_bias);
  }
}

void finish(const BackwardJob& job, const Tile& tile) {
  for (int64_t i = 0; i < tile.rows; ++i) {
    const int64_t now = tile.first + i;
    add_from_later(job, 0, tile.sequence, now,
                   job.x_grad + (tile.sequence * job.shape.time + now) * job.shape.residual);
  }
}

template <class P>
int64_t scratch_floats(const Shape& s) {
  return Tiles<P>(s, nullptr, P::kForwardRows > P::kBackwardRows ? P::kForwardRows : P::kBackwardRows).floats;
}

template <class P>
constexpr LayerKernels kernels_of() {
  return {gemm_of<P>(),      P::kForwardRows, backward_rows<P>,
          scratch_floats<P>, forward<P>,      skip_grad_floats<P>,
          put_skip_grad<P>,  backward<P>,     finish};
}

}  // namespace

extern const ResidualLayers residual_layers;
#if defined(__AMX_BF16__)
const ResidualLayers residual_layers = {{kernels_of<Split<3>>(), kernels_of<Split<1>>()}};
#elif defined(__AVX512BF16__)
const ResidualLayers residual_layers = {{kernels_of<Fused<false>>(), kernels_of<Split<1>>()}};
#else
const ResidualLayers residual_layers = {{kernels_of<Fused<false>>(), kernels_of<Fused<true>>()}};
#endif

}  // namespace fw::cpu::FW_ISA
