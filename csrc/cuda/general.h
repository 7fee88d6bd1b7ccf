// The general kernel: one block holds up to 8 streams of any network and loops over their samples; blocks are
// independent. Weights come from the second-level cache, each read serving all streams of the block.
//
// A sample is a chain of phases with a block barrier between them:
//   embed | per layer: product, gate, product, add | product, rectify, product, out | draw
// The phases on both sides of a product read past inputs, biases and conditioning ahead of their use. A sum runs in an
// order that follows from the shape of its matrix alone, so a stream's samples are the same in a batch of any size.
#pragma once

#include <math.h>

#include "cuda/streams.h"

namespace fw::cuda {

inline constexpr int kThreads = 256, kWarps = kThreads / kWarp;
inline constexpr int kMostSlices = 16;  // of a product's inputs; beyond, adding the parts up costs more than it saves
inline constexpr int kStreamsPerBlock = 8;  // at most: 4 outputs x 8 streams are 32 sums in registers
inline constexpr int64_t kRoom = 4;         // floats: every buffer of the scratch begins on 16 bytes

// A matrix [in, out] packed for y = W^T x, float32 or bfloat16. A thread computes the outputs q, q + out/4, q + out/2
// and q + 3*out/4 over every `slices`-th input; a row holds those four side by side, q after q. Threads in their order
// therefore read one straight line: first `slices` rows, then the next ones.
struct Matrix {
  const void* weights;
  const float* bias;  // [out]
  int32_t in, out;    // padded
  int32_t slices;
};

struct Layer {
  Matrix dilated, onward;   // onward: z to [x of the next layer | skip sum]; the last layer has the skip sum alone
  int32_t dilation, slots;  // slots = (K-1) * dilation
  int64_t memory;           // where the layer's ring begins in a stream's memory
};

// Where the buffers of a block's scratch begin, in floats a stream: each holds all streams of the block, the first so
// many floats times that. Activations are [channel][stream], so that a thread loads one input of all streams at once.
struct Scratch {
  int64_t positions;  // a Position
  int64_t inputs;     // [K * padded R] of a dilated product; the last tap is x itself
  int64_t z;          // [padded G]
  int64_t skip;       // [padded S]
  int64_t hidden;     // [padded H]
  int64_t sums;       // [stream][slices][out] or, for top-p, [stream][a power of two >= O]
  int64_t out;        // [stream][padded O]
  int64_t tokens;     // [stream][K0] float or int32
  int64_t rings;      // [L][stream] int32: the slot of the current sample
  int64_t flags;      // a Flags, the first stream's
  int64_t total;
};

struct Network : Shape {
  int64_t widest_sums;  // of `sums`, a stream
  Scratch scratch;
  const Layer* layer;
  const float* skip_bias;  // [padded S]
  Matrix head0, head1;
  const float* front;  // [1 + K0 * (A or 1), padded R]: the bias, then the tables
};

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

template <class Weight, int kStreams>
struct Block {
  const Network& n;
  const fw_run_t& run;
  float* scratch;
  Streams streams;  // of this block, at most kStreams

  __device__ Block(const Network& network, const Job& job, float* scratch_, int64_t first, int count)
      : n(network), run(job.run), scratch(scratch_), streams{network, job.run, job.outcome, first, count, {}, {}, {}} {
    streams.positions = at<Position>(n.scratch.positions);
    streams.tokens = at(n.scratch.tokens);
    streams.flags = at<Flags>(n.scratch.flags);
  }

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

  // Reads times, last tokens and ring slots from the caller's memory.
  __device__ void fetch() const {
    streams.fetch_times();
    streams.fetch_tokens();
    for (int i = static_cast<int>(threadIdx.x); i < streams.count * n.layers; i += kThreads) {
      const int s = i % streams.count, l = i / streams.count;
      at<int32_t>(n.scratch.rings)[l * kStreams + s] = streams.slot_of(s, n.layer[l].slots);
    }
  }

  // x of the first layer, the initial skip sum, and the place of the conditioning of this sample.
  __device__ void embed(int64_t sample) const {
    float *x = now(), *skip = at(n.scratch.skip);
    for (int i = static_cast<int>(threadIdx.x); i < streams.count * n.residual; i += kThreads) {
      const int s = i / n.residual, j = i % n.residual;
      x[j * kStreams + s] = streams.embedded(n.front, s, j, sample);
    }
    for (int i = static_cast<int>(threadIdx.x); i < streams.count * n.skip; i += kThreads) {
      const int s = i / n.skip, j = i % n.skip;
      skip[j * kStreams + s] = __ldg(n.skip_bias + j);
    }
    if (run.projected == nullptr) return;
    for (int s = static_cast<int>(threadIdx.x); s < streams.count; s += kThreads) streams.locate(s);
  }

  __device__ float* now() const { return at(n.scratch.inputs) + int64_t{n.taps - 1} * n.residual * kStreams; }

  // Reads a layer's past inputs from the rings.
  __device__ void read_past(const Layer& layer) const {
    const int vectors = n.residual / 4, past = n.taps - 1;
    float* inputs = at(n.scratch.inputs);
    for (int i = static_cast<int>(threadIdx.x); i < streams.count * past * vectors; i += kThreads) {
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

  // Writes x into the slot of the oldest tap, which `read_past` has read.
  __device__ void write_ring(const Layer& layer) const {
    const int vectors = n.residual / 4;
    const float* x = now();
    for (int i = static_cast<int>(threadIdx.x); i < streams.count * vectors; i += kThreads) {
      const int vector = i % vectors, s = i / vectors;
      const float* from = x + 4 * vector * kStreams + s;
      const int64_t slot = at<int32_t>(n.scratch.rings)[(&layer - n.layer) * kStreams + s];
      *reinterpret_cast<float4*>(ring(layer, s) + slot * n.residual + 4 * vector) =
          make_float4(from[0], from[kStreams], from[2 * kStreams], from[3 * kStreams]);
    }
  }

  __device__ float* ring(const Layer& layer, int s) const {
    return run.memory + (streams.first + s) * n.memory_floats + layer.memory;
  }

  // z of a layer, from its preactivations.
  __device__ void activate(const Layer& layer) const {
    const int l = static_cast<int>(&layer - n.layer);
    float* z = at(n.scratch.z);
    for (int i = static_cast<int>(threadIdx.x); i < streams.count * n.gate; i += kThreads) {
      const int s = i / n.gate, j = i % n.gate;
      const float filter = total(layer.dilated, s, j, streams.conditioned(l, s, j, layer.dilated.bias));
      const float gate = total(layer.dilated, s, n.gate + j, streams.conditioned(l, s, n.gate + j, layer.dilated.bias));
      z[j * kStreams + s] = tanhf(filter) / (1 + expf(-gate));
    }
  }

  // Adds the layer's products to x and to the skip sum, and advances its ring.
  __device__ void add(const Layer& layer) const {
    const Matrix& m = layer.onward;
    const int residual = m.out - n.skip;  // 0 in the last layer
    float *x = now(), *skip = at(n.scratch.skip);
    for (int i = static_cast<int>(threadIdx.x); i < streams.count * m.out; i += kThreads) {
      const int s = i / m.out, j = i % m.out;
      float* to = j < residual ? x + j * kStreams + s : skip + (j - residual) * kStreams + s;
      const float sum = *to + total(m, s, j, j < residual ? __ldg(m.bias + j) : 0);
      *to = residual == 0 ? relu(sum) : sum;
    }
    for (int s = static_cast<int>(threadIdx.x); s < streams.count; s += kThreads) {
      int32_t& slot = at<int32_t>(n.scratch.rings)[(&layer - n.layer) * kStreams + s];
      slot = slot + 1 == layer.slots ? 0 : slot + 1;
    }
  }

  __device__ void hide() const {
    float* hidden = at(n.scratch.hidden);
    for (int i = static_cast<int>(threadIdx.x); i < streams.count * n.head; i += kThreads) {
      const int s = i / n.head, j = i % n.head;
      hidden[j * kStreams + s] = relu(total(n.head0, s, j, __ldg(n.head0.bias + j)));
    }
  }

  __device__ void put_out(int64_t i) const {
    const int width = n.head1.out;
    for (int k = static_cast<int>(threadIdx.x); k < streams.count * width; k += kThreads) {
      const int s = k / width, j = k % width;
      const float out = total(n.head1, s, j, __ldg(n.head1.bias + j));
      at(n.scratch.out)[k] = out;
      if (run.outputs != nullptr && j < n.outputs) {
        run.outputs[((streams.first + s) * run.samples + i) * n.outputs + j] = out;
      }
    }
  }

  // One warp per stream appends the given token or a drawn one.
  __device__ void take(int64_t i) const {
    for (int s = static_cast<int>(threadIdx.x) / kWarp; s < streams.count; s += kWarps) {
      float* out = at(n.scratch.out) + s * n.head1.out;
      const bool taken = streams.take(s, i, out, sums_of(s));
      if (!taken && lane() == 0) atomicExch(&streams.flags->failed, 1);
    }
  }

  __device__ void generate() const {
    for (int64_t i = threadIdx.x; i < n.scratch.total * kStreams; i += kThreads) scratch[i] = 0;
    __syncthreads();
    streams.check();
    __syncthreads();
    const Flags* flags = streams.flags;
    if (flags->refused) return;
    fetch();
    __syncthreads();
    for (int64_t i = 0; i < run.samples; ++i) {
      embed(i);
      read_past(n.layer[0]);
      __syncthreads();
      for (int l = 0; l < n.layers; ++l) {
        const Layer& layer = n.layer[l];
        multiply(layer.dilated, at(n.scratch.inputs));
        __syncthreads();
        activate(layer);
        write_ring(layer);
        if (l + 1 < n.layers) read_past(n.layer[l + 1]);
        __syncthreads();
        multiply(layer.onward, at(n.scratch.z));
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
    streams.write_back();
  }
};

// kShared: the scratch is in the block's shared memory; else in the caller's workspace, for networks too wide for it.
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
  const int count = static_cast<int>(left < kStreams ? left : kStreams);
  Block<Weight, kStreams>(network, job, scratch, first, count).generate();
}

}  // namespace fw::cuda
