// One tile of the residual stack, forward and backward. Compiled once per instruction set; see cpu/isa.h.
//
//   forward   for each layer: taps -> sums -> z -> [skip sum | stream]
//   backward  of one layer: [dskip | dstream] -> dz; taps -> sums again -> dsums -> dstream of now and of d, 2d, ...
//             earlier, dcondition; and the gradients of its weights
#include "cpu/residual_layer.h"

#include "cpu/tile.h"

namespace fw::FW_ISA {
namespace {

constexpr int64_t kPatience = 20000;  // looks at the tile before this one before yielding: about 0.5 ms

// Values as they are kept between forward and backward.
template <bool kLow>
struct Stored;

template <>
struct Stored<false> {
  typedef float Value;
  static void widen(const float* from, int64_t count, float* to) {
    memcpy(to, from, static_cast<size_t>(count) * sizeof *to);
  }
  static void narrow(const float* from, int64_t count, float* to) { widen(from, count, to); }
  static void narrow_gates(const float* from, int64_t count, float* to) { widen(from, count, to); }
  static void widen_gates(const float* from, int64_t count, float* to) { widen(from, count, to); }
};

template <>
struct Stored<true> {
  typedef uint16_t Value;
  static void widen(const uint16_t* from, int64_t count, float* to) { fw::FW_ISA::widen(from, count, to); }
  static void narrow(const float* from, int64_t count, uint16_t* to) {
    for (int64_t j = 0; j < count; j += kLanes) put(Words(rounded(load(from + j))) >> 16, count - j, to + j);
  }
  // Between -1 and 1 as integers: 100 times as exact as bfloat16 where 1 - tanh^2 needs it.
  static void narrow_gates(const float* from, int64_t count, uint16_t* to) {
    for (int64_t j = 0; j < count; j += kLanes) {
      const Vec shifted = multiply_add(load(from + j), fill(kOne), fill(12582912.0f));  // as in exponential()
      put(Words(shifted), count - j, to + j);
    }
  }
  static void widen_gates(const uint16_t* from, int64_t count, float* to) {
    for (int64_t j = 0; j < count; ++j) to[j] = static_cast<float>(static_cast<int16_t>(from[j])) * (1 / kOne);
  }

 private:
  static constexpr float kOne = 32767;
  typedef uint16_t Halves __attribute__((vector_size(kLanes * 2)));
  // The low half of each lane, of `left` lanes at most: tiles are filled up, so that there was a whole vector to read.
  static void put(Words words, int64_t left, uint16_t* to) {
    const Halves halves = __builtin_convertvector(words, Halves);
    memcpy(to, &halves, static_cast<size_t>(left < kLanes ? left : kLanes) * sizeof(uint16_t));
  }
};

// float32: sums, gates, carried, out_grad, stream_grad, reached. Operand rows: taps, gate_rows, skip_rows, stream_rows,
// sum_rows. Rearranged: times, turned.
template <class P>
struct Tiles {
  typedef typename P::Value Value;
  float *sums, *gates, *carried, *out_grad, *stream_grad, *reached, *strip;
  Value *taps, *gate_rows, *skip_rows, *stream_rows, *sum_rows, *times, *turned;
  int64_t floats;

  Tiles(const Shape& s, float* base, int64_t rows) {
    Memory memory(base);
    const int64_t half = s.half(), stream = filled(s.residual);
    sums = memory.tile(rows, s.sums());
    gates = memory.tile(rows, half);
    carried = memory.tile(rows, s.carried(-1));
    out_grad = memory.tile(rows, half);
    stream_grad = memory.tile(rows, stream);
    reached = memory.tile(rows, s.reached(true));
    strip = memory.take(P::strip_floats(widest(rows, widest(s.inputs(), half))));
    taps = memory.values<Value>(rows * P::row_values(s.inputs()));
    gate_rows = memory.values<Value>(rows * P::row_values(half));
    skip_rows = memory.values<Value>(rows * P::row_values(s.skips()));
    stream_rows = memory.values<Value>(rows * P::row_values(stream));
    sum_rows = memory.values<Value>(rows * P::row_values(s.sums()));
    times = memory.values<Value>(P::times_values(rows));
    turned = memory.values<Value>(P::turned_values(rows, widest(s.inputs(), half)));
    floats = memory.used();
  }
};

// The inputs of a layer's sums: a row for each time of the tile, zeros where nothing came before.
template <class P>
void gather(const Shape& s, int64_t layer, const void* streams, const float* condition, const Tile& tile,
            typename P::Value* taps) {
  typedef typename Stored<P::kLow>::Value Kept;
  const Kept* const stream =
      static_cast<const Kept*>(streams) + (layer * s.batch + tile.sequence) * s.time * s.residual;
  const int64_t width = s.inputs(), channels = filled(s.residual);
  for (int64_t i = 0; i < tile.rows; ++i) {
    const int64_t now = tile.first + i;
    for (int64_t tap = 0; tap < s.taps; ++tap) {
      const int64_t then = now - s.past(layer, tap);
      if (then < 0) {
        P::put_zeros(s.residual, taps, width, i, tap * channels);
      } else {
        P::put(stream + then * s.residual, s.residual, taps, width, i, tap * channels);
      }
    }
    if (s.condition) {
      P::put(condition + (tile.sequence * s.time + now) * s.condition, s.condition, taps, width, i, s.taps * channels);
    }
  }
}

// Rows of a tensor [B, T, width] <-> columns of a tile.
void read_rows(const float* tensor, const Shape& s, int64_t width, const Tile& tile, float* to, int64_t stride,
               int64_t columns) {
  for (int64_t i = 0; i < tile.rows; ++i) {
    Stored<false>::widen(tensor + (tile.sequence * s.time + tile.first + i) * width, width, to + i * stride);
    clear(to + i * stride + width, columns - width);
  }
}

template <bool kLow, class Value>
void write_rows(const float* from, int64_t stride, const Shape& s, int64_t width, const Tile& tile, Value* tensor) {
  for (int64_t i = 0; i < tile.rows; ++i) {
    Stored<kLow>::narrow(from + i * stride, width, tensor + (tile.sequence * s.time + tile.first + i) * width);
  }
}

// All tiles before this one in its sequence have written the inputs of `layer`, and so has this one.
void await_streams(const ForwardJob& job, int64_t index, int64_t layer) {
  const int64_t before = index - job.shape.batch;  // tiles of all sequences take turns
  for (int64_t looks = 0; before >= 0 && __atomic_load_n(job.progress + before, __ATOMIC_ACQUIRE) <= layer;) {
    if (++looks > kPatience) {
      job.yield();
    } else {
#if defined(__x86_64__)
      _mm_pause();
#endif
    }
  }
  __atomic_store_n(job.progress + index, layer + 1, __ATOMIC_RELEASE);
}

// A row of sums, without bias -> tanh and sigmoid of them in their places, and z, the product.
void open_gates(float* sums, const float* bias, int64_t half, float* z) {
  for (int64_t j = 0; j < half; j += kLanes) {
    const Gate gate = gate_of(load(sums + j) + load(bias + j), load(sums + half + j) + load(bias + half + j));
    store(sums + j, gate.filter);
    store(sums + half + j, gate.opening);
    store(z + j, gate.filter * gate.opening);
  }
}

template <class P>
void forward(const ForwardJob& job, int64_t index, const Tile& tile, float* scratch) {
  using Value = typename Stored<P::kLow>::Value;
  const Shape& s = job.shape;
  const Tiles<P> t(s, scratch, P::kForwardRows);
  const int64_t carried_row = stride_of(s.carried(-1)), skips = s.skips(), half = s.half();
  float* const stream = t.carried + skips;
  for (int64_t i = 0; i < tile.rows; ++i) {
    float* const row = t.carried + i * carried_row;
    memcpy(row, job.skip_bias, static_cast<size_t>(s.skip) * sizeof(float));
    clear(row + s.skip, skips - s.skip);
  }
  read_rows(job.x, s, s.residual, tile, stream, carried_row, filled(s.residual));
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    Value* const streams = static_cast<Value*>(job.streams) + layer * s.batch * s.time * s.residual;
    write_rows<P::kLow>(stream, carried_row, s, s.residual, tile, streams);
    await_streams(job, index, layer);
    gather<P>(s, layer, job.streams, job.condition, tile, t.taps);
    const typename P::Left taps = P::left(t.taps, s.inputs());
    P::multiply(&taps, 1, P::packed(job.dilated[layer], s.inputs()), tile.rows, s.sums(), t.sums, stride_of(s.sums()),
                false, t.strip);
    const float* const bias = job.sum_bias[layer];
    for (int64_t i = 0; i < tile.rows; ++i) {
      float* const sums = t.sums + i * stride_of(s.sums());
      float* const z = t.gates + i * stride_of(half);
      open_gates(sums, bias, half, z);
      if (job.gates != nullptr) {
        const int64_t row = (layer * s.batch + tile.sequence) * s.time + tile.first + i;
        Value* const to = static_cast<Value*>(job.gates) + row * 2 * s.gate;
        Stored<P::kLow>::narrow_gates(sums, s.gate, to);
        Stored<P::kLow>::narrow_gates(sums + half, s.gate, to + s.gate);
      }
      P::put(z, half, t.gate_rows, half, i, 0);
    }
    if (layer + 1 < s.layers) {
      for (int64_t i = 0; i < tile.rows; ++i) {
        float* const row = stream + i * carried_row;
        for (int64_t j = 0; j < filled(s.residual); j += kLanes) {
          store(row + j, load(row + j) + load(job.stream_bias[layer] + j));
        }
      }
    }
    const typename P::Left gates = P::left(t.gate_rows, half);
    P::multiply(&gates, 1, P::packed(job.out[layer], half), tile.rows, s.carried(layer), t.carried, carried_row, true,
                t.strip);
  }
  write_rows<false>(t.carried, carried_row, s, s.skip, tile, job.skip_sum);
}

// From dz and the gates, kept or of the sums -> dsums, in their place and as operand rows; z as operand rows too.
template <class P>
void gates_back(const BackwardJob& job, const Tile& tile, const Tiles<P>& t, float* bias_grad) {
  using Row = Stored<P::kLow>;
  const Shape& s = job.shape;
  const float* const next = job.grad + (tile.sequence * s.time + tile.first + tile.rows) * s.skip;
  const int64_t half = s.half();
  const auto* const gates = static_cast<const typename Row::Value*>(job.gates);
  for (int64_t i = 0; i < tile.rows; ++i) {
    float* const sums = t.sums + i * stride_of(s.sums());
    float* const z = t.gates + i * stride_of(half);
    const float* const dz = t.out_grad + i * stride_of(half);
    // The next tile begins with these. At `ref` laying them then takes 32 ms of a step, not 57; gates take 15 more.
    for (int64_t j = 0; j < s.skip; j += 16) __builtin_prefetch(next + i * s.skip + j, 0, 2);
    if (gates == nullptr) {
      open_gates(sums, job.sum_bias, half, z);
    } else {
      const int64_t row = (job.layer * s.batch + tile.sequence) * s.time + tile.first + i;
      for (int64_t part = 0; part < 2; ++part) {
        Row::widen_gates(gates + (row * 2 + part) * s.gate, s.gate, sums + part * half);
        clear(sums + part * half + s.gate, half - s.gate);
      }
    }
    for (int64_t j = 0; j < half; j += kLanes) {
      const Vec filter = load(sums + j), opening = load(sums + half + j), opened = load(dz + j) * opening;
      store(z + j, filter * opening);
      store(sums + j, opened * (1.0f - filter * filter));
      store(sums + half + j, opened * filter * (1.0f - opening));
    }
    if (i % kRowsTogether == kRowsTogether - 1 || i + 1 == tile.rows) {
      const int64_t first = i / kRowsTogether * kRowsTogether;
      add_columns(t.sums + first * stride_of(s.sums()), stride_of(s.sums()), i + 1 - first, s.sums(), bias_grad);
    }
    P::put(sums, s.sums(), t.sum_rows, s.sums(), i, 0);
    if (job.weights) P::put(z, half, t.gate_rows, half, i, 0);
  }
}

// Row += what later times give to it through the taps of `layer`.
void add_given(const BackwardJob& job, int64_t layer, int64_t sequence, int64_t now, float* row) {
  const Shape& s = job.shape;
  for (int64_t tap = 0; tap + 1 < s.taps; ++tap) {
    if (now + s.past(layer, tap) >= s.time) continue;  // beyond the end there is nothing
    const float* const given = job.given + ((tap * s.batch + sequence) * s.time + now) * s.residual;
    for (int64_t j = 0; j < s.residual; ++j) row[j] += given[j];
  }
}

// From dsums -> the gradients of all that the sums took.
template <class P>
void inputs_back(const BackwardJob& job, const Tile& tile, const Tiles<P>& t) {
  const Shape& s = job.shape;
  const int64_t reached = s.reached(job.condition_grad != nullptr), row = stride_of(reached),
                stream = filled(s.residual), now_tap = s.taps - 1;
  const typename P::Left sums = P::left(t.sum_rows, s.sums());
  P::multiply(&sums, 1, P::packed(job.dilated_back, s.sums()), tile.rows, reached, t.reached, row, false, t.strip);
  for (int64_t i = 0; i < tile.rows; ++i) {
    const float* const from = t.reached + i * row;
    const float* const before = t.stream_grad + i * stride_of(stream);
    const int64_t now = tile.first + i;
    float* const to = job.stream_grad + (tile.sequence * s.time + now) * s.residual;
    for (int64_t j = 0; j < s.residual; ++j) to[j] = before[j] + from[now_tap * stream + j];
    for (int64_t tap = 0; tap < now_tap; ++tap) {
      const int64_t then = now - s.past(job.layer, tap);
      if (then < 0) continue;
      float* const gives = job.gives + ((tap * s.batch + tile.sequence) * s.time + then) * s.residual;
      memcpy(gives, from + tap * stream, static_cast<size_t>(s.residual) * sizeof(float));
    }
    if (job.condition_grad == nullptr) continue;
    float* const condition = job.condition_grad + (tile.sequence * s.time + now) * s.condition;
    for (int64_t j = 0; j < s.condition; ++j) condition[j] += from[s.taps * stream + j];
  }
}

template <class P>
void backward(const BackwardJob& job, const Tile& tile, const LayerSums& total, float* scratch) {
  const Shape& s = job.shape;
  const Tiles<P> t(s, scratch, P::kRows);
  const int64_t half = s.half(), sums = s.sums(), inputs = s.inputs(), skips = s.skips(), stream = filled(s.residual);
  const int64_t carried = s.carried(job.layer), stream_row = stride_of(stream);
  const bool deep = carried > skips;
  const float* const grad = job.grad + (tile.sequence * s.time + tile.first) * s.skip;
  lay<P>(grad, s.skip, tile.rows, s.skip, t.skip_rows);
  read_rows(job.stream_grad, s, s.residual, tile, t.stream_grad, stream_row, stream);
  if (deep) {
    for (int64_t i = 0; i < tile.rows; ++i) {
      add_given(job, job.layer + 1, tile.sequence, tile.first + i, t.stream_grad + i * stream_row);
    }
    lay<P>(t.stream_grad, stream_row, tile.rows, stream, t.stream_rows);
  }
  const typename P::Left out[] = {P::left(t.skip_rows, skips), P::left(t.stream_rows, stream)};
  P::multiply(out, deep ? 2 : 1, P::packed(job.out_back, carried), tile.rows, half, t.out_grad, stride_of(half), false,
              t.strip);
  gather<P>(s, job.layer, job.streams, job.condition, tile, t.taps);
  if (job.gates == nullptr) {
    const typename P::Left taps = P::left(t.taps, inputs);
    P::multiply(&taps, 1, P::packed(job.dilated, inputs), tile.rows, sums, t.sums, stride_of(sums), false, t.strip);
  }
  gates_back<P>(job, tile, t, total.sum_bias);
  inputs_back<P>(job, tile, t);
  if (!job.weights) return;
  const typename P::Left turned = P::turned(t.taps, tile.rows, inputs, t.turned);
  P::multiply(&turned, 1, P::times(t.sum_rows, tile.rows, sums, t.times), inputs, sums, total.dilated, stride_of(sums),
              true, t.strip);
  const typename P::Left gates = P::turned(t.gate_rows, tile.rows, half, t.turned);
  P::multiply(&gates, 1, P::times(t.skip_rows, tile.rows, skips, t.times), half, skips, total.out, stride_of(carried),
              true, t.strip);
  if (deep) {
    P::multiply(&gates, 1, P::times(t.stream_rows, tile.rows, stream, t.times), half, stream, total.out + skips,
                stride_of(carried), true, t.strip);
    add_columns(t.stream_grad, stream_row, tile.rows, stream, total.carried + skips);
  } else {
    add_columns(grad, s.skip, tile.rows, s.skip, total.carried);
  }
}

void collect(const BackwardJob& job, const Tile& tile) {
  for (int64_t i = 0; i < tile.rows; ++i) {
    const int64_t now = tile.first + i;
    add_given(job, 0, tile.sequence, now,
              job.stream_grad + (tile.sequence * job.shape.time + now) * job.shape.residual);
  }
}

template <class P>
int64_t scratch_floats(const Shape& s) {
  return Tiles<P>(s, nullptr, P::kForwardRows > P::kRows ? P::kForwardRows : P::kRows).floats;
}

template <class P>
int64_t rows_of(const Shape& s) {
  return P::rows(s.inputs() * s.sums() + s.half() * s.carried(-1));
}

template <class P>
constexpr LayerKernels kernels_of() {
  return {products_of<P>(), P::kForwardRows, rows_of<P>, scratch_floats<P>, forward<P>, backward<P>, collect};
}

}  // namespace

extern const ResidualLayers residual_layers;
#if defined(__AMX_BF16__)
const ResidualLayers residual_layers = {{kernels_of<Split<3>>(), kernels_of<Split<1>>()}};
#else
const ResidualLayers residual_layers = {{kernels_of<Fused<false>>(), kernels_of<Fused<true>>()}};
#endif

}  // namespace fw::FW_ISA
