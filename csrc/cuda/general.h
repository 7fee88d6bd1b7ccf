// The general kernel: one block holds up to 8 streams of any network and loops over their samples; blocks are
// independent. Weights come from the second-level cache, each read serving all streams of the block.
//
// A sample is a chain of phases with a block barrier between them:
//   embed | per layer: product, gate, product, add | product, rectify, product, out | draw
// The phases on both sides of a product read past inputs, biases and conditioning ahead of their use. A sum runs in an
// order that follows from the shape of its matrix alone, so a stream hears the same in a batch of any size.
#pragma once

#include <math.h>

#include "cuda/draw.h"
#include "cuda/network.h"

#if !defined(FW_DYNAMIC_SHARED)
#define FW_DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

namespace fw {

template <int kStreams>
struct alignas(kStreams < 4 ? 4 * kStreams : 16) Inputs {  // one input of every stream: one or two loads
  float of[kStreams];
};

__device__ inline float4 load_four(const float* weights) {
  return __ldg(reinterpret_cast<const float4*>(weights));
}

__device__ inline float4 load_four(const uint16_t* weights) {
  const uint2 two = __ldg(reinterpret_cast<const uint2*>(weights));
  return make_float4(__uint_as_float(two.x << 16), __uint_as_float(two.x & 0xFFFF0000), __uint_as_float(two.y << 16),
                     __uint_as_float(two.y & 0xFFFF0000));
}

__device__ inline int64_t floor_divide(int64_t a, int64_t b) {
  return a / b - (a % b < 0);
}

template <class Weight, int kStreams>
struct Block {
  const Network& n;
  const fw_run_t& run;
  float* scratch;
  int64_t first;  // stream
  int streams;    // of this block, at most kStreams

  template <class Value = float>
  __device__ Value* at(int64_t offset) const {
    return reinterpret_cast<Value*>(scratch + offset * kStreams);
  }

  // sums[stream][slice][out], without the bias
  __device__ void multiply(const Matrix& m, const float* inputs) const {
    const int quads = m.out / 4, units = quads * m.slices;
    const int64_t stride = int64_t{4} * units;
    for (int unit = static_cast<int>(threadIdx.x); unit < units; unit += kThreads) {
      const int slice = unit / quads, quad = unit - slice * quads;
      const Weight* weights = static_cast<const Weight*>(m.weights) + int64_t{4} * unit;
      float sums[4][kStreams] = {};
#pragma unroll(kStreams > 2 ? 4 : 8)
      for (int i = slice; i < m.in; i += m.slices) {
        const float4 w = load_four(weights);
        const Inputs<kStreams> x = reinterpret_cast<const Inputs<kStreams>*>(inputs)[i];
        weights += stride;
#pragma unroll
        for (int s = 0; s < kStreams; ++s) {
          sums[0][s] = fmaf(w.x, x.of[s], sums[0][s]);
          sums[1][s] = fmaf(w.y, x.of[s], sums[1][s]);
          sums[2][s] = fmaf(w.z, x.of[s], sums[2][s]);
          sums[3][s] = fmaf(w.w, x.of[s], sums[3][s]);
        }
      }
#pragma unroll
      for (int s = 0; s < kStreams; ++s) {
#pragma unroll
        for (int part = 0; part < 4; ++part) sums_of(s)[slice * m.out + part * quads + quad] = sums[part][s];
      }
    }
  }

  __device__ float* sums_of(int s) const { return scratch + n.scratch.sums * kStreams + s * n.widest_sums; }

  // Output j of stream s after `multiply`, begun with a bias.
  __device__ float total(const Matrix& m, int s, int j, float sum) const {
    const float* sums = sums_of(s) + j;
    for (int slice = 0; slice < m.slices; ++slice) sum += sums[slice * m.out];
    return sum;
  }

  // What only the device can see of a run that cannot be right.
  __device__ void check() const {
    for (int s = static_cast<int>(threadIdx.x); s < streams; s += kThreads) {
      const int64_t stream = first + s, time = run.times[stream];
      if (time < 0 || time > INT64_MAX - run.samples || run.ids[stream] < 0 || run.ids[stream] > UINT32_MAX) {
        refuse(kBadTime, stream);
        continue;  // the rest divides and adds times
      }
      for (int k = 0; n.classes && k < n.front_taps; ++k) {
        const int64_t last = run.last_classes[stream * n.front_taps + k];
        if (last < 0 || last >= n.classes) refuse(kBadLast, stream);
      }
      if (run.projected == nullptr) continue;
      const int64_t begin = run.first_frame[stream];
      if (begin < -kFarFrame || begin > kFarFrame) {
        refuse(kBadFrame, stream);
        continue;
      }
      const int64_t low = floor_divide(time - 1, run.hop) - begin;
      const int64_t high = floor_divide(time + run.samples - 2, run.hop) - begin + (run.linear ? 1 : 0);
      if (low < 0 || high >= run.frames) refuse(kBadCover, stream);
    }
    if (run.given_classes == nullptr) return;
    for (int64_t i = threadIdx.x; i < streams * run.samples; i += kThreads) {
      const int64_t given = run.given_classes[first * run.samples + i];
      if (given < 0 || given >= n.classes) refuse(kBadGiven, first + i / run.samples);
    }
  }

  __device__ void refuse(Refusal why, int64_t stream) const {
    atomicExch(&at<Flags>(n.scratch.flags)->refused, 1);
    atomicMin(refusals, static_cast<unsigned long long>(why << 32 | static_cast<uint64_t>(stream)));
  }

  // Times, last tokens and ring slots, from the caller's memory.
  __device__ void fetch() const {
    Position* positions = at<Position>(n.scratch.positions);
    for (int s = static_cast<int>(threadIdx.x); s < streams; s += kThreads) positions[s].time = run.times[first + s];
    for (int i = static_cast<int>(threadIdx.x); i < streams * n.front_taps; i += kThreads) {
      const int64_t token = first * n.front_taps + i;
      if (n.classes) at<int32_t>(n.scratch.tokens)[i] = static_cast<int32_t>(run.last_classes[token]);
      if (!n.classes) at(n.scratch.tokens)[i] = run.last_values[token];
    }
    for (int i = static_cast<int>(threadIdx.x); i < streams * n.layers; i += kThreads) {
      const int s = i % streams, l = i / streams;
      const int64_t slots = n.layer[l].slots, now = run.times[first + s] - 1;
      at<int32_t>(n.scratch.rings)[l * kStreams + s] = static_cast<int32_t>(now - floor_divide(now, slots) * slots);
    }
  }

  __device__ void give_back() const {
    for (int s = static_cast<int>(threadIdx.x); s < streams; s += kThreads) run.times[first + s] += run.samples;
    for (int i = static_cast<int>(threadIdx.x); i < streams * n.front_taps; i += kThreads) {
      const int64_t token = first * n.front_taps + i;
      if (n.classes) run.last_classes[token] = at<int32_t>(n.scratch.tokens)[i];
      if (!n.classes) run.last_values[token] = at(n.scratch.tokens)[i];
    }
  }

  // x of the first layer, the beginning of the skip sum, and where the conditioning of this sample stands.
  __device__ void embed() const {
    const int64_t rows = n.classes ? n.classes : 1;
    float* x = now();
    for (int i = static_cast<int>(threadIdx.x); i < streams * n.residual; i += kThreads) {
      const int s = i / n.residual, j = i % n.residual;
      float sum = 0;
      for (int tap = 0; tap < n.front_taps; ++tap) {
        const int token = s * n.front_taps + tap;
        const int64_t row = tap * rows + (n.classes ? at<int32_t>(n.scratch.tokens)[token] : 0);
        const float weight = __ldg(n.front + row * n.residual + j);
        sum = n.classes ? sum + weight : fmaf(weight, at(n.scratch.tokens)[token], sum);
      }
      x[j * kStreams + s] = sum;
    }
    float* skip = at(n.scratch.skip);
    for (int i = static_cast<int>(threadIdx.x); i < streams * n.skip; i += kThreads) {
      const int s = i / n.skip, j = i % n.skip;
      skip[j * kStreams + s] = __ldg(n.skip_bias + j);
    }
    if (run.projected == nullptr) return;
    for (int s = static_cast<int>(threadIdx.x); s < streams; s += kThreads) {
      Position& position = at<Position>(n.scratch.positions)[s];
      const int64_t p = position.time - 1, frame = floor_divide(p, run.hop);
      position.row = ((first + s) * run.frames + frame - run.first_frame[first + s]) * n.layers * 2 * n.gate;
      position.share = static_cast<float>(static_cast<double>(p - frame * run.hop) / static_cast<double>(run.hop));
    }
  }

  __device__ float* now() const { return at(n.scratch.inputs) + int64_t{n.taps - 1} * n.residual * kStreams; }

  // Past inputs of a layer, from the rings.
  __device__ void recall(const Layer& layer) const {
    const int vectors = n.residual / 4, past = n.taps - 1;
    float* inputs = at(n.scratch.inputs);
    for (int i = static_cast<int>(threadIdx.x); i < streams * past * vectors; i += kThreads) {
      const int vector = i % vectors, s = i / vectors / past, tap = i / vectors % past;
      int slot = at<int32_t>(n.scratch.rings)[(&layer - n.layer) * kStreams + s] + tap * layer.dilation;
      if (slot >= layer.slots) slot -= layer.slots;  // the oldest tap stands where the newest will
      const float4 x = *reinterpret_cast<const float4*>(ring(layer, s) + int64_t{slot} * n.residual + 4 * vector);
      float* to = inputs + (int64_t{tap} * n.residual + 4 * vector) * kStreams + s;
      to[0] = x.x;
      to[kStreams] = x.y;
      to[2 * kStreams] = x.z;
      to[3 * kStreams] = x.w;
    }
  }

  // x into the slot of the oldest tap, which `recall` has read.
  __device__ void remember(const Layer& layer) const {
    const int vectors = n.residual / 4;
    const float* x = now();
    for (int i = static_cast<int>(threadIdx.x); i < streams * vectors; i += kThreads) {
      const int vector = i % vectors, s = i / vectors;
      const float* from = x + 4 * vector * kStreams + s;
      const int64_t slot = at<int32_t>(n.scratch.rings)[(&layer - n.layer) * kStreams + s];
      *reinterpret_cast<float4*>(ring(layer, s) + slot * n.residual + 4 * vector) =
          make_float4(from[0], from[kStreams], from[2 * kStreams], from[3 * kStreams]);
    }
  }

  __device__ float* ring(const Layer& layer, int s) const {
    return run.memory + (first + s) * n.memory_floats + layer.memory;
  }

  // Output j of a dilated product before it is summed up: its bias, with the conditioning.
  __device__ float conditioned(const Layer& layer, int s, int j) const {
    if (run.projected == nullptr) return __ldg(layer.dilated.bias + j);
    const Position& position = at<Position>(n.scratch.positions)[s];
    const float* row = run.projected + position.row + (&layer - n.layer) * 2 * n.gate + j;
    const float here = __ldg(row);
    if (!run.linear) return here;
    return fmaf(position.share, __ldg(row + int64_t{n.layers} * 2 * n.gate) - here, here);
  }

  __device__ void gate(const Layer& layer) const {
    float* gates = at(n.scratch.gates);
    for (int i = static_cast<int>(threadIdx.x); i < streams * n.gate; i += kThreads) {
      const int s = i / n.gate, j = i % n.gate;
      const float filter = total(layer.dilated, s, j, conditioned(layer, s, j));
      const float open = total(layer.dilated, s, n.gate + j, conditioned(layer, s, n.gate + j));
      gates[j * kStreams + s] = tanhf(filter) / (1 + expf(-open));
    }
  }

  // The layer's products go to x and to the skip sum, and its ring moves on.
  __device__ void add(const Layer& layer) const {
    const Matrix& m = layer.onward;
    const int residual = m.out - n.skip;  // 0 in the last layer
    float *x = now(), *skip = at(n.scratch.skip);
    for (int i = static_cast<int>(threadIdx.x); i < streams * m.out; i += kThreads) {
      const int s = i / m.out, j = i % m.out;
      float* to = j < residual ? x + j * kStreams + s : skip + (j - residual) * kStreams + s;
      const float sum = *to + total(m, s, j, j < residual ? __ldg(m.bias + j) : 0);
      *to = residual == 0 ? rectified(sum) : sum;
    }
    for (int s = static_cast<int>(threadIdx.x); s < streams; s += kThreads) {
      int32_t& slot = at<int32_t>(n.scratch.rings)[(&layer - n.layer) * kStreams + s];
      slot = slot + 1 == layer.slots ? 0 : slot + 1;
    }
  }

  __device__ static float rectified(float value) { return value < 0 ? 0 : value; }  // NaN stays

  __device__ void hide() const {
    float* hidden = at(n.scratch.hidden);
    for (int i = static_cast<int>(threadIdx.x); i < streams * n.head; i += kThreads) {
      const int s = i / n.head, j = i % n.head;
      hidden[j * kStreams + s] = rectified(total(n.head0, s, j, __ldg(n.head0.bias + j)));
    }
  }

  __device__ void put_out(int64_t i) const {
    const int width = n.head1.out;
    for (int k = static_cast<int>(threadIdx.x); k < streams * width; k += kThreads) {
      const int s = k / width, j = k % width;
      const float out = total(n.head1, s, j, __ldg(n.head1.bias + j));
      at(n.scratch.out)[k] = out;
      if (run.outputs != nullptr && j < n.outputs) {
        run.outputs[((first + s) * run.samples + i) * n.outputs + j] = out;
      }
    }
  }

  // A warp a stream: the given token or a drawn one becomes the newest.
  __device__ void take(int64_t i) const {
    for (int s = static_cast<int>(threadIdx.x) / kWarp; s < streams; s += kWarps) {
      float* out = at(n.scratch.out) + s * n.head1.out;
      Position& position = at<Position>(n.scratch.positions)[s];
      const int64_t stream = first + s, here = stream * run.samples + i;
      bool broken = false;
      for (int j = lane(); j < n.outputs; j += kWarp) broken |= !(fabsf(out[j]) < INFINITY);
      if (__any_sync(kAllLanes, broken)) {
        if (lane() == 0) {
          atomicExch(&at<Flags>(n.scratch.flags)->failed, 1);
          atomicMin(failures, static_cast<unsigned long long>(i << 32 | stream));
        }
        continue;
      }
      const bool given = run.given_classes != nullptr || run.given_values != nullptr;
      const int draws = n.output == FW_CATEGORICAL ? 1 : 2;
      float uniforms[2] = {};
      for (int draw = 0; draw < draws && !given; ++draw) {
        uniforms[draw] = run.noise != nullptr
                             ? run.noise[here * draws + draw]
                             : philox_uniform(run.seed, static_cast<uint64_t>(position.time),
                                              static_cast<uint32_t>(run.ids[stream]), static_cast<uint32_t>(draw));
      }
      if (n.classes) {
        const int32_t token = given ? static_cast<int32_t>(run.given_classes[here])
                                    : draw_categorical(n, run, out, uniforms[0], sums_of(s));
        push(at<int32_t>(n.scratch.tokens) + s * n.front_taps, token);
        if (lane() == 0 && run.drawn_classes != nullptr) run.drawn_classes[here] = token;
      } else {
        const float value = given ? run.given_values[here] : draw_value(n, run, out, uniforms[0], uniforms[1]);
        push(at(n.scratch.tokens) + s * n.front_taps, value);
        if (lane() == 0 && run.drawn_values != nullptr) run.drawn_values[here] = value;
      }
      __syncwarp();  // all lanes have read the time
      if (lane() == 0) ++position.time;
    }
  }

  template <class Token>
  __device__ void push(Token* last, Token token) const {
    if (lane() != 0) return;
    for (int tap = 0; tap + 1 < n.front_taps; ++tap) last[tap] = last[tap + 1];
    last[n.front_taps - 1] = token;
  }

  unsigned long long *refusals, *failures;

  __device__ void generate() const {
    for (int64_t i = threadIdx.x; i < n.scratch.total * kStreams; i += kThreads) scratch[i] = 0;
    __syncthreads();
    check();
    __syncthreads();
    const Flags* flags = at<Flags>(n.scratch.flags);
    if (flags->refused) return;
    fetch();
    __syncthreads();
    for (int64_t i = 0; i < run.samples; ++i) {
      embed();
      recall(n.layer[0]);
      __syncthreads();
      for (int l = 0; l < n.layers; ++l) {
        const Layer& layer = n.layer[l];
        multiply(layer.dilated, at(n.scratch.inputs));
        __syncthreads();
        gate(layer);
        remember(layer);
        if (l + 1 < n.layers) recall(n.layer[l + 1]);
        __syncthreads();
        multiply(layer.onward, at(n.scratch.gates));
        __syncthreads();
        add(layer);
        __syncthreads();
      }
      multiply(n.head0, at(n.scratch.skip));
      __syncthreads();
      hide();
      __syncthreads();
      multiply(n.head1, at(n.scratch.hidden));
      __syncthreads();
      put_out(i);
      __syncthreads();
      take(i);
      __syncthreads();
      if (flags->failed) return;
    }
    give_back();
  }
};

// kShared: the scratch is the block's shared memory; else it is the caller's workspace, for networks too wide for it.
template <class Weight, int kStreams, bool kShared>
__global__ void __launch_bounds__(kThreads, 2)
    general(const __grid_constant__ Network network, const __grid_constant__ Job job) {
  float* scratch;
  if constexpr (kShared) {
    FW_DYNAMIC_SHARED(shared);
    scratch = reinterpret_cast<float*>(shared);
  } else {
    scratch = job.scratch + int64_t{blockIdx.x} * network.scratch.total * kStreams;
  }
  const int64_t first = int64_t{blockIdx.x} * kStreams, left = job.run.streams - first;
  const Block<Weight, kStreams> block = {network,
                                         job.run,
                                         scratch,
                                         first,
                                         static_cast<int>(left < kStreams ? left : kStreams),
                                         reinterpret_cast<unsigned long long*>(&job.outcome->refused),
                                         reinterpret_cast<unsigned long long*>(&job.outcome->failed)};
  block.generate();
}

}  // namespace fw
