// One tile of the residual stack, forward and backward. Compiled once per instruction set; see cpu/isa.h.
//
//   forward      for each layer: taps -> sums -> z -> [skip sum | stream]
//   sums_back    [dskip | dstream] -> dz; taps -> sums again -> dsums, and the layer's weight gradients
//   inputs_back  dsums of now and of d, 2d, ... later -> dstream, dcondition
#include "cpu/residual_layer.h"

#include "cpu/product_amx.h"
#include "cpu/product_fma.h"

namespace fw::FW_ISA {
namespace {

constexpr int64_t kRowsTogether = 16;  // whose bias gradients are summed apart from the rest
constexpr int64_t kPatience = 20000;   // looks at the tile before this one before yielding: about 0.5 ms

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
};

template <>
struct Stored<true> {
  typedef uint16_t Value;
  static void widen(const uint16_t* from, int64_t count, float* to) { fw::FW_ISA::widen(from, count, to); }
  static void narrow(const float* from, int64_t count, uint16_t* to) {
    typedef uint16_t Halves __attribute__((vector_size(kLanes * 2)));
    for (int64_t j = 0; j < count; j += kLanes) {  // tiles are filled up: there is a whole vector to read
      const Halves halves = __builtin_convertvector(Words(rounded(load(from + j))) >> 16, Halves);
      const int64_t left = count - j < kLanes ? count - j : kLanes;
      memcpy(to + j, &halves, static_cast<size_t>(left) * sizeof(uint16_t));
    }
  }
};

void clear(float* values, int64_t count) {
  memset(values, 0, static_cast<size_t>(count) * sizeof(float));
}

// sums[j] += the column sums, some rows at a time: in one chain of 200 roundings a bias gradient, whose terms nearly
// cancel, was further from float64 than PyTorch's.
void add_columns(const float* rows, int64_t row, int64_t count, int64_t width, float* sums) {
  constexpr int64_t kTogether = 4 * kLanes;
  int64_t j = 0;
  for (; j + kTogether <= width; j += kTogether) {
    Vec total[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) total[v] = load(sums + j + v * kLanes);
    for (int64_t first = 0; first < count; first += kRowsTogether) {
      Vec sum[4] = {};
      const int64_t end = first + kRowsTogether < count ? first + kRowsTogether : count;
      for (int64_t i = first; i < end; ++i) {
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) sum[v] += load(rows + i * row + j + v * kLanes);
      }
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) total[v] += sum[v];
    }
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) store(sums + j + v * kLanes, total[v]);
  }
  for (; j < width; ++j) {
    float total = sums[j];
    for (int64_t first = 0; first < count; first += kRowsTogether) {
      float sum = 0;
      for (int64_t i = first; i < count && i < first + kRowsTogether; ++i) sum += rows[i * row + j];
      total += sum;
    }
    sums[j] = total;
  }
}

// Scratch memory of a thread, cut into tiles.
class Memory {
 public:
  explicit Memory(float* base) : base_(base) {}
  float* take(int64_t count) {
    float* const taken = base_ == nullptr ? nullptr : base_ + used_;  // without memory it only counts
    used_ += (count + 15) / 16 * 16;
    return taken;
  }
  float* tile(int64_t rows, int64_t width) { return take(rows * stride_of(width)); }
  template <class Value>
  Value* values(int64_t count) {
    return reinterpret_cast<Value*>(take(count * static_cast<int64_t>(sizeof(Value)) / 4 + 16));
  }
  int64_t used() const { return used_; }

 private:
  float* base_;
  int64_t used_ = 0;
};

// float32: sums, gates, carried, out_grad. Operand rows: taps, gate_rows, stream_rows, later. Rearranged: times,
// turned.
template <class P>
struct Tiles {
  typedef typename P::Value Value;
  float *sums, *gates, *carried, *out_grad, *strip;
  Value *taps, *gate_rows, *skip_rows, *stream_rows, *later, *times, *turned;
  int64_t floats;

  Tiles(const Shape& s, float* base, int64_t rows) {
    Memory memory(base);
    const int64_t half = s.half(), stream = filled(s.residual), wide = s.carried(-1);
    sums = memory.tile(rows, s.sums());
    gates = memory.tile(rows, half);
    carried = memory.tile(rows, widest(wide, filled(s.condition)));
    out_grad = memory.tile(rows, half);
    strip = memory.take(P::strip_floats(widest(rows, widest(s.inputs(), half))));
    taps = memory.values<Value>(rows * P::row_values(s.inputs()));
    gate_rows = memory.values<Value>(rows * P::row_values(half));
    skip_rows = memory.values<Value>(rows * P::row_values(s.skips()));
    stream_rows = memory.values<Value>(rows * P::row_values(stream));
    later = memory.values<Value>(rows * P::row_values(s.sums()));
    times = memory.values<Value>(P::times_values(rows, widest(s.sums(), widest(s.skips(), stream))));
    turned = memory.values<Value>(P::turned_values(rows, widest(s.inputs(), half)));
    floats = memory.used();
  }
  static int64_t widest(int64_t a, int64_t b) { return a > b ? a : b; }
};

template <class P>
void clear_columns(typename P::Value* row, int64_t width, int64_t first) {
  for (int64_t part = 0; part < P::kParts; ++part) {
    memset(row + part * width + first, 0, static_cast<size_t>(width - first) * sizeof *row);
  }
}

// `channels` numbers to an operand row, which they fill up to a multiple of kFill.
template <class P>
void put_row(const float* from, int64_t channels, typename P::Value* row) {
  P::put(from, channels, row, filled(channels), 0);
  clear_columns<P>(row, filled(channels), channels);
}

template <class P>
void lay(const float* from, int64_t rows, int64_t channels, typename P::Value* row) {
  for (int64_t i = 0; i < rows; ++i, row += P::row_values(filled(channels)))
    put_row<P>(from + i * channels, channels, row);
}

// The inputs of a layer's sums: a row for each time of the tile, zeros where nothing came before.
template <class P>
void gather(const Shape& s, int64_t layer, const void* streams, const float* condition, const Tile& tile,
            typename P::Value* taps) {
  typedef typename Stored<P::kLow>::Value Kept;
  const Kept* const stream =
      static_cast<const Kept*>(streams) + (layer * s.batch + tile.sequence) * s.time * s.residual;
  const int64_t width = s.inputs();
  for (int64_t i = 0; i < tile.rows; ++i) {
    typename P::Value* const row = taps + i * P::row_values(width);
    const int64_t now = tile.first + i;
    for (int64_t tap = 0; tap < s.taps; ++tap) {
      const int64_t then = now - s.past(layer, tap);
      if (then < 0) {
        for (int64_t part = 0; part < P::kParts; ++part) {
          memset(row + part * width + tap * s.residual, 0, static_cast<size_t>(s.residual) * sizeof *row);
        }
      } else {
        P::put(stream + then * s.residual, s.residual, row, width, tap * s.residual);
      }
    }
    if (s.condition) {
      P::put(condition + (tile.sequence * s.time + now) * s.condition, s.condition, row, width, s.taps * s.residual);
    }
    clear_columns<P>(row, width, s.taps * s.residual + s.condition);
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
    P::multiply(&taps, 1, P::packed(job.dilated[layer], s.inputs(), s.sums()), tile.rows, s.sums(), t.sums,
                stride_of(s.sums()), false, t.strip);
    const float* const bias = job.sum_bias[layer];
    for (int64_t i = 0; i < tile.rows; ++i) {
      const float* const sums = t.sums + i * stride_of(s.sums());
      float* const z = t.gates + i * stride_of(half);
      for (int64_t j = 0; j < half; j += kLanes) {
        store(z + j, gated(load(sums + j) + load(bias + j), load(sums + half + j) + load(bias + half + j)));
      }
      if (job.gates != nullptr) {
        const int64_t row = (layer * s.batch + tile.sequence) * s.time + tile.first + i;
        Stored<P::kLow>::narrow(z, s.gate, static_cast<Value*>(job.gates) + row * s.gate);
      }
      P::put(z, half, t.gate_rows + i * P::row_values(half), half, 0);
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
    P::multiply(&gates, 1, P::packed(job.out[layer], half, s.carried(layer)), tile.rows, s.carried(layer), t.carried,
                carried_row, true, t.strip);
  }
  write_rows<false>(t.carried, carried_row, s, s.skip, tile, job.skip_sum);
}

// From z = tanh(f) sigmoid(g), dz -> df, dg, and z where it was not kept; both as operand rows too.
template <class P>
void gates_back(const BackwardJob& job, const Tile& tile, const Tiles<P>& t, typename P::Value* sum_grad,
                float* bias_grad) {
  using Row = Stored<P::kLow>;
  const Shape& s = job.shape;
  const float* const next = job.grad + (tile.sequence * s.time + tile.first + tile.rows) * s.skip;
  const int64_t half = s.half();
  const bool kept = job.gates != nullptr;
  const auto* const gates = static_cast<const typename Row::Value*>(job.gates);
  for (int64_t i = 0; i < tile.rows; ++i) {
    float* const sums = t.sums + i * stride_of(s.sums());
    float* const z = t.gates + i * stride_of(half);
    const float* const dz = t.out_grad + i * stride_of(half);
    // The next tile begins with these. At `ref` laying them then takes 32 ms of a step, not 57; gates take 15 more.
    for (int64_t j = 0; j < s.skip; j += 16) __builtin_prefetch(next + i * s.skip + j, 0, 2);
    if (kept) {
      const int64_t row = (job.layer * s.batch + tile.sequence) * s.time + tile.first + i;
      Row::widen(gates + row * s.gate, s.gate, z);
      clear(z + s.gate, half - s.gate);
    }
    for (int64_t j = 0; j < half; j += kLanes) {
      const Vec gate = sigmoid(load(sums + half + j) + load(job.sum_bias + half + j));
      Vec filter;
      if (kept) {  // z / gate: one product less; gate is at least e^-60
        filter = at_most(1, at_least(-1, load(z + j) / gate));
      } else {
        filter = hyperbolic_tangent(load(sums + j) + load(job.sum_bias + j));
        store(z + j, filter * gate);
      }
      const Vec dz_gate = load(dz + j) * gate;
      store(sums + j, dz_gate * (1.0f - filter * filter));
      store(sums + half + j, dz_gate * filter * (1.0f - gate));
    }
    if (i % kRowsTogether == kRowsTogether - 1 || i + 1 == tile.rows) {
      const int64_t first = i / kRowsTogether * kRowsTogether;
      add_columns(t.sums + first * stride_of(s.sums()), stride_of(s.sums()), i + 1 - first, s.sums(), bias_grad);
    }
    P::put(sums, s.sums(), sum_grad + i * P::row_values(s.sums()), s.sums(), 0);
    if (job.weights) P::put(z, half, t.gate_rows + i * P::row_values(half), half, 0);
  }
}

template <class P>
void sums_back(const BackwardJob& job, const Tile& tile, const LayerSums& total, float* scratch) {
  typedef typename P::Value Value;
  const Shape& s = job.shape;
  const Tiles<P> t(s, scratch, P::kRows);
  const int64_t half = s.half(), sums = s.sums(), inputs = s.inputs(), skips = s.skips(), stream = filled(s.residual);
  const int64_t carried = s.carried(job.layer), first_row = tile.sequence * s.time + tile.first;
  const bool deep = carried > skips;
  const float* const grad = job.grad + first_row * s.skip;
  Value* const sum_grad = static_cast<Value*>(job.sum_grad) + first_row * P::row_values(sums);
  const float* const stream_grad = job.stream_grad + first_row * s.residual;
  lay<P>(grad, tile.rows, s.skip, t.skip_rows);
  if (deep) lay<P>(stream_grad, tile.rows, s.residual, t.stream_rows);
  const typename P::Left out[] = {P::left(t.skip_rows, skips), P::left(t.stream_rows, stream)};
  P::multiply(out, deep ? 2 : 1, P::packed(job.out_back, carried, half), tile.rows, half, t.out_grad, stride_of(half),
              false, t.strip);
  gather<P>(s, job.layer, job.streams, job.condition, tile, t.taps);
  const int64_t needed = job.gates == nullptr ? sums : half;  // the gate half stands last
  const typename P::Left taps = P::left(t.taps, inputs);
  P::multiply(&taps, 1, P::packed(job.dilated, inputs, needed), tile.rows, needed, t.sums + sums - needed,
              stride_of(sums), false, t.strip);
  gates_back<P>(job, tile, t, sum_grad, total.sum_bias);
  if (!job.weights) return;
  const typename P::Left turned = P::turned(t.taps, tile.rows, inputs, t.turned);
  P::multiply(&turned, 1, P::times(sum_grad, tile.rows, sums, t.times), inputs, sums, total.dilated, stride_of(sums),
              true, t.strip);
  const typename P::Left gates = P::turned(t.gate_rows, tile.rows, half, t.turned);
  P::multiply(&gates, 1, P::times(t.skip_rows, tile.rows, skips, t.times), half, skips, total.out, stride_of(carried),
              true, t.strip);
  if (deep) {
    P::multiply(&gates, 1, P::times(t.stream_rows, tile.rows, stream, t.times), half, stream, total.out + skips,
                stride_of(carried), true, t.strip);
    add_columns(stream_grad, s.residual, tile.rows, s.residual, total.carried + skips);
  } else {
    add_columns(grad, s.skip, tile.rows, s.skip, total.carried);
  }
}

template <class P>
void inputs_back(const BackwardJob& job, const Tile& tile, float* scratch) {
  typedef typename P::Value Value;
  const Shape& s = job.shape;
  const Tiles<P> t(s, scratch, P::kRows);
  const int64_t sums = s.sums(), row = P::row_values(sums), stream = filled(s.residual);
  const Value* const sequence = static_cast<const Value*>(job.sum_grad) + tile.sequence * s.time * row;
  read_rows(job.stream_grad, s, s.residual, tile, t.carried, stride_of(stream), stream);
  for (int64_t tap = 0; tap < s.taps; ++tap) {
    const int64_t then = tile.first + s.past(job.layer, tap), known = s.time - then;
    if (known <= 0) continue;
    const int64_t there = known < tile.rows ? known : tile.rows;  // beyond the end there is nothing
    // Copied, because of the end; tile loads from where they are, in the third level, were no faster.
    memcpy(t.later, sequence + then * row, static_cast<size_t>(there * row) * sizeof(Value));
    memset(t.later + there * row, 0, static_cast<size_t>((tile.rows - there) * row) * sizeof(Value));
    const typename P::Left later = P::left(t.later, sums);
    P::multiply(&later, 1, P::packed(job.dilated_back + tap * P::packed_floats(sums, stream), sums, stream), tile.rows,
                stream, t.carried, stride_of(stream), true, t.strip);
  }
  write_rows<false>(t.carried, stride_of(stream), s, s.residual, tile, job.stream_grad);
  if (job.condition_grad == nullptr) return;
  const int64_t channels = filled(s.condition), c_row = stride_of(channels);
  const typename P::Left now = P::left(sequence + tile.first * row, sums);
  read_rows(job.condition_grad, s, s.condition, tile, t.carried, c_row, channels);
  P::multiply(&now, 1, P::packed(job.condition_back, sums, channels), tile.rows, channels, t.carried, c_row, true,
              t.strip);
  write_rows<false>(t.carried, c_row, s, s.condition, tile, job.condition_grad);
}

// Denormal numbers cost a hundred cycles each and mean nothing here.
template <class P>
uint32_t begin() {
  P::begin();
#if defined(__x86_64__)
  const uint32_t before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);  // flush to zero, denormals are zero
  return before;
#else
  return 0;
#endif
}

template <class P>
void end(uint32_t before) {
#if defined(__x86_64__)
  _mm_setcsr(before);
#else
  (void)before;
#endif
  P::end();
}

template <class P>
int64_t scratch_floats(const Shape& s) {
  return Tiles<P>(s, nullptr, P::kForwardRows > P::kRows ? P::kForwardRows : P::kRows).floats;
}

template <class P>
int64_t row_bytes(int64_t width) {
  return P::row_values(width) * static_cast<int64_t>(sizeof(typename P::Value));
}

template <class P>
constexpr LayerKernels kernels_of() {
  return {P::kForwardRows, P::kRows, scratch_floats<P>, row_bytes<P>, P::packed_floats, P::pack,
          begin<P>,        end<P>,   forward<P>,        sums_back<P>, inputs_back<P>};
}

}  // namespace

extern const ResidualLayers residual_layers;
#if defined(__AMX_BF16__)
const ResidualLayers residual_layers = {{kernels_of<Split<3>>(), kernels_of<Split<1>>()}};
#else
const ResidualLayers residual_layers = {{kernels_of<Fused<false>>(), kernels_of<Fused<true>>()}};
#endif

}  // namespace fw::FW_ISA
