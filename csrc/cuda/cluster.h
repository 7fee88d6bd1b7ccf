// The cluster kernel: the blocks of a cluster hold one network between them, in shared memory, and 8 streams go through
// it at the latency of one. Weights are bfloat16, on the tensor cores; so are inputs of products; all else is float32.
//
// Blocks and what they send, of 8 streams each time:
//   layers 0..a -- x, z --> layers a+1..b -- x, z --> ...      every layer: z --> all skip blocks
//   skip blocks: skip sums of some channels, all layers; relu; their share of the head's first product --> head block
//   head block: relu, second product, draw, embed -- x --> layers 0..a
// A layer computes x from the x and z of the layer before, then its own z from x. Folded, it does not wait for x:
//   current x[l] = current x[l-1] + (current residual) z[l-1], where the first product was made a layer ago.
// Past taps, conditioning and biases of the next sample are summed up while a block would wait for it.
//
// Why nothing is overwritten too early: a message of sample t+1 follows from the tokens of sample t, and those from all
// that was read on the way to them. Only what no token waits for could still be read, so messages have two places.
#pragma once

#include <math.h>

#include "cuda/instructions.h"
#include "cuda/streams.h"

namespace fw {

inline constexpr int kClusterThreads = 512, kClusterWarps = kClusterThreads / kWarp, kHalf = kClusterWarps / 2;
inline constexpr int kColumns = 8;                        // streams of a cluster
inline constexpr int kTile = 16, kTileWords = kWarp * 4;  // a tile of weights: 16 x 16, 4 words a lane
inline constexpr int kMostClusterBlocks = 8;              // more are not portable
inline constexpr int kMostSkipTiles = 2;                  // of a warp
inline constexpr int64_t kWordBytes = 4, kWeightTileBytes = kTileWords * kWordBytes;

enum Role : int32_t { kLayers, kSkips, kHead, kIdle };

// A block's weights: the first `kept` bytes are copied to its shared memory, behind the scratch.
struct Place {
  Role role;
  int32_t first, end;  // layers; or tiles of 16 skip channels
  int32_t lead;        // layers: bytes before the first layer's `current`
  const char* weights;
  int64_t kept;
};

// Where the buffers of a block's scratch begin, in bytes. `inputs` are of a product, as multiply_tile wants them: for
// 16 channels of 8 streams, 32 lanes of two words.
struct ClusterScratch {
  int32_t positions, flags, tokens;  // [8] Position; Flags; [8][K0]
  int32_t signals;                   // layers: 1; skips: L; head: 1
  // layers
  int32_t rows, slots;    // [layers][8] int64: where the current sample's x goes in the memory; its slot
  int32_t message, next;  // x [R][8] float, x inputs, z inputs; and the other one, for odd samples
  int32_t x, x_inputs;    // [R][8] float
  int32_t z_inputs[2];    // of even and of odd layers
  int32_t past, sums;     // [layers] inputs of (K-1) * R; [layers][2G / 16][32] float4, begun for the sample
  int32_t layers_end;
  // skips
  int32_t z, skip_inputs;  // [L] inputs of G; inputs of the block's channels
  int32_t skips_end;
  // head
  int32_t partial, hidden;  // [skip blocks][H][8] float; inputs of H
  int32_t out, sorted;      // [8][padded O] float; [8][a power of two >= O]
  int32_t head_end;
};

struct ClusterNetwork : Shape {
  Place places[kMostClusterBlocks];
  int32_t blocks, layer_blocks, skip_blocks;  // of `blocks` in this order, then the head
  int32_t width, sorted;                      // floats a stream: padded O; a power of two >= O
  ClusterScratch scratch;
  const int32_t *dilations, *slots;  // [L]
  const int64_t* memory;             // [L] where a layer's ring begins in a stream's memory
};

// Bytes of a layer's parts, in the order in which they lie there; the first layer of all has only `current`.
struct LayerBytes {
  int32_t residual, folded, bias, current, past, constants;

  __host__ __device__ LayerBytes(const Shape& n, bool is_folded)
      : residual(tiles(n.residual, n.gate)),
        folded(is_folded ? tiles(2 * n.gate, n.gate) : 0),
        bias(n.residual * 4),
        current(tiles(2 * n.gate, n.residual)),
        past(tiles(2 * n.gate, (n.taps - 1) * n.residual)),
        constants(2 * n.gate * 4 * 2) {}

  __host__ __device__ static int32_t tiles(int32_t out, int32_t in) {
    return out / kTile * (in / kTile) * static_cast<int32_t>(kWeightTileBytes);
  }
  __host__ __device__ int32_t stride() const { return residual + folded + bias + current; }
};

// Where channels 2 * pair and the next one of a stream stand among the inputs of a product.
__device__ inline int word_of(int pair, int stream) {
  return (pair / 8 * kWarp + stream * 4 + pair % 4) * 2 + pair / 4 % 2;
}

// A lane of multiply_tile's result has a channel of two streams; its neighbour in `g` has the next channel, or the one
// before. Together they make two pairs of channels: this lane gets that of stream 2c or, if its own g is odd, 2c + 1.
__device__ inline uint32_t pair_up(float even, float odd) {
  const bool is_odd = lane() / 4 % 2 != 0;
  const float got = __shfl_xor_sync(kAllLanes, is_odd ? even : odd, 4);
  return is_odd ? to_bfloat16_pair(got, odd) : to_bfloat16_pair(even, got);
}

__device__ inline float sigmoid_of(float value) {
  return __fdividef(1, 1 + __expf(-value));
}

__device__ inline float gated(float filter, float gate) {
  return (2 * sigmoid_of(2 * filter) - 1) * sigmoid_of(gate);  // within 1e-6 of tanh; then it is rounded to bfloat16
}

__device__ inline float rectify(float value) {
  return value < 0 ? 0 : value;
}  // NaN stays

// A row of tiles times inputs. Two sums side by side, so that one product need not wait for the one before.
__device__ inline void multiply(float4& sums, const uint4* weights, const uint2* inputs, int steps) {
  float4 others = {0, 0, 0, 0};
  weights += lane();
  inputs += lane();
  int k = 0;
#pragma unroll 4
  for (; k + 2 <= steps; k += 2) {
    multiply_tile(sums, weights[k * kWarp], inputs[k * kWarp]);
    multiply_tile(others, weights[(k + 1) * kWarp], inputs[(k + 1) * kWarp]);
  }
  if (k < steps) multiply_tile(sums, weights[k * kWarp], inputs[k * kWarp]);
  sums.x += others.x;
  sums.y += others.y;
  sums.z += others.z;
  sums.w += others.w;
}

template <bool kFolded>
struct Member {  // of a cluster
  const ClusterNetwork& n;
  const Place& place;
  const fw_run_t& run;
  unsigned char* shared;
  int rank;
  int32_t scratch_end;
  Streams streams;

  __device__ Member(const ClusterNetwork& network, const Job& job, unsigned char* shared_memory, int64_t first,
                    int count)
      : n(network),
        place(network.places[rank_in_cluster()]),
        run(job.run),
        shared(shared_memory),
        rank(static_cast<int>(rank_in_cluster())),
        scratch_end(place.role == kLayers  ? n.scratch.layers_end
                    : place.role == kSkips ? n.scratch.skips_end
                                           : n.scratch.head_end),
        streams{network, job.run, job.outcome, first, count, {}, {}, {}} {
    streams.positions = at<Position>(n.scratch.positions);
    streams.tokens = at<char>(n.scratch.tokens);
    streams.flags = at<Flags>(n.scratch.flags);
  }

  template <class Value>
  __device__ Value* at(int64_t offset) const {
    return reinterpret_cast<Value*>(shared + offset);
  }
  __device__ Signal* signal(int index = 0) const { return at<Signal>(n.scratch.signals) + index; }
  __device__ static int thread() { return static_cast<int>(threadIdx.x); }
  __device__ static int warp() { return thread() / kWarp; }
  // This lane's row of a tile, its two streams, and the one whose pairs of channels pair_up gives it.
  __device__ static int row() { return lane() / 4; }
  __device__ static int column() { return lane() % 4 * 2; }
  __device__ static int paired() { return column() + row() % 2; }

  // Weights that surely are in shared memory, and any.
  template <class Value = uint4>
  __device__ const Value* kept(int64_t offset) const {
    return at<const Value>(scratch_end + offset);
  }
  template <class Value = uint4>
  __device__ const Value* weights(int64_t offset) const {
    if (offset < place.kept) return kept<Value>(offset);
    return reinterpret_cast<const Value*>(place.weights + offset);
  }

  __device__ void set_up() const {
    for (int i = thread(); i < scratch_end / kWordBytes; i += kClusterThreads) at<uint32_t>(0)[i] = 0;
    const auto* from = reinterpret_cast<const uint4*>(place.weights);
    for (int i = thread(); i < place.kept / 16; i += kClusterThreads) at<uint4>(scratch_end)[i] = from[i];
  }

  __device__ void generate() const {
    set_up();
    __syncthreads();
    streams.check();
    __syncthreads();
    if (streams.flags->refused) return;  // as all blocks of the cluster find
    const int signals = place.role == kIdle ? 0 : place.role == kSkips ? n.layers : 1;
    for (int i = thread(); i < signals; i += kClusterThreads) {
      signal(i)->prepare();
      signal(i)->expect(expected());
    }
    streams.fetch_times();
    cluster_barrier();
    if (place.role == kLayers) layers();
    if (place.role == kSkips) skips();
    if (place.role == kHead) head();
  }

  // Bytes that a signal of this block counts a sample.
  __device__ uint32_t expected() const {
    const int input = 2 * kColumns, number = 4 * kColumns;  // bytes a channel
    if (place.role == kSkips) return static_cast<uint32_t>(n.gate * input);
    if (place.role == kHead) return static_cast<uint32_t>(n.skip_blocks * n.head * number);
    if (rank == 0) return static_cast<uint32_t>(n.residual * (input + number) / kColumns * streams.count);
    return static_cast<uint32_t>(n.residual * (input + number) + n.gate * input);
  }

  // Blocks of layers

  struct Message {  // where it lies, in bytes
    int32_t x, x_inputs, z_inputs;
  };
  __device__ Message message(int64_t sample) const {
    const int32_t begin = sample % 2 ? n.scratch.next : n.scratch.message;
    return {begin, begin + n.residual * kColumns * 4, begin + n.residual * kColumns * 6};
  }

  __device__ void layers() const {
    const LayerBytes bytes(n, kFolded);
    for (int i = thread(); i < (place.end - place.first) * streams.count; i += kClusterThreads) {
      const int l = place.first + i / streams.count, s = i % streams.count;
      const int32_t slot = streams.slot_of(s, n.slots[l]);
      slots(l)[s] = slot == 0 ? n.slots[l] - 1 : slot - 1;  // of the sample before
    }
    for (int64_t i = 0; i < run.samples; ++i) {
      if (thread() == 0 && i > 0) signal()->expect(expected());
      begin_sample(bytes);
      const Message here = message(i);
      signal()->wait(static_cast<uint32_t>(i));
      for (int l = place.first; l < place.end; ++l) {
        if (kFolded && warp() < kHalf) {
          gate(bytes, l, here, message(i), warp(), kHalf);
        } else if (kFolded) {
          add(bytes, l, here, message(i), warp() - kHalf, kHalf);
          if (l + 1 < place.end) {
            barrier_of(1, kHalf * kWarp);
            look_ahead(bytes, l + 1, warp() - kHalf, kHalf);
          }
        } else {
          add(bytes, l, here, message(i), warp(), kClusterWarps);
          __syncthreads();
          gate(bytes, l, here, message(i), warp(), kClusterWarps);
        }
        __syncthreads();
      }
    }
  }

  __device__ int32_t* slots(int l) const { return at<int32_t>(n.scratch.slots) + (l - place.first) * kColumns; }
  __device__ int64_t* rows(int l) const { return at<int64_t>(n.scratch.rows) + (l - place.first) * kColumns; }
  __device__ uint32_t* past_of(int l) const {
    return at<uint32_t>(n.scratch.past) + (l - place.first) * (n.taps - 1) * n.residual * kColumns / 2;
  }
  __device__ float4* sums_of(int l, int tile) const {
    return at<float4>(n.scratch.sums) + ((l - place.first) * (n.gate / 8) + tile) * kWarp + lane();
  }

  // Of a layer's weights, in this block
  __device__ int64_t current_at(const LayerBytes& bytes, int l) const {
    return place.lead + int64_t{l - place.first} * bytes.stride();
  }
  __device__ int64_t past_at(const LayerBytes& bytes, int l) const {
    return current_at(bytes, place.end - 1) + bytes.current + int64_t{l - place.first} * (bytes.past + bytes.constants);
  }

  // Rings move on, and all that a sample's sums need of the past is added up: nobody waits for it.
  __device__ void begin_sample(const LayerBytes& bytes) const {
    const int layers = place.end - place.first;
    for (int s = thread(); s < streams.count && run.projected != nullptr; s += kClusterThreads) streams.locate(s);
    for (int i = thread(); i < layers * streams.count; i += kClusterThreads) {
      const int l = place.first + i / streams.count, s = i % streams.count;
      int32_t& slot = slots(l)[s];
      slot = slot + 1 == n.slots[l] ? 0 : slot + 1;
      rows(l)[s] = (streams.first + s) * n.memory_floats + n.memory[l] + int64_t{slot} * n.residual;
    }
    __syncthreads();
    const int pairs = (n.taps - 1) * n.residual / 2;
    for (int i = thread(); i < layers * streams.count * pairs; i += kClusterThreads) {
      const int pair = i % pairs, s = i / pairs % streams.count, l = place.first + i / pairs / streams.count;
      const int tap = 2 * pair / n.residual, channel = 2 * pair % n.residual;
      int slot = slots(l)[s] + tap * n.dilations[l];
      if (slot >= n.slots[l]) slot -= n.slots[l];  // the oldest tap stands where the newest will
      const float* x = run.memory + rows(l)[s] + int64_t{slot - slots(l)[s]} * n.residual + channel;
      past_of(l)[word_of(pair, s)] = to_bfloat16_pair(x[0], x[1]);
    }
    __syncthreads();
    const int tiles = n.gate / 8, steps = (n.taps - 1) * n.residual / kTile;
    for (int i = warp(); i < layers * tiles; i += kClusterWarps) {
      const int l = place.first + i / tiles, tile = i % tiles;
      const int64_t at = past_at(bytes, l);
      const auto* past = weights(at) + tile * steps * kWarp;
      const auto* constants = reinterpret_cast<const float*>(place.weights + at + bytes.past);
      float4 sums;
      sums.x = begun(constants, l, column(), tile * 8 + row());
      sums.y = begun(constants, l, column() + 1, tile * 8 + row());
      sums.z = begun(constants, l, column(), n.gate + tile * 8 + row());
      sums.w = begun(constants, l, column() + 1, n.gate + tile * 8 + row());
      multiply(sums, past, reinterpret_cast<const uint2*>(past_of(l)), steps);
      *sums_of(l, tile) = sums;
    }
    for (int s = thread(); s < streams.count; s += kClusterThreads) ++streams.positions[s].time;
    __syncthreads();
  }

  // constants: the layer's biases, and what folding adds to them.
  __device__ float begun(const float* constants, int l, int s, int j) const {
    return s < streams.count ? streams.conditioned(l, s, j, constants) + constants[2 * n.gate + j] : 0;
  }

  // x of layer l goes to its ring, and to the next block if that has the next layer.
  __device__ void add(const LayerBytes& bytes, int l, const Message& from, const Message& to, int worker,
                      int workers) const {
    const bool first = l == place.first, passes = l + 1 == place.end && l + 1 < n.layers;
    const int64_t current = current_at(bytes, l);
    const auto* residual = kept(current - bytes.bias - bytes.folded - bytes.residual);
    const auto* bias = kept<float>(current - bytes.bias);
    const auto* before = at<const float>(first ? from.x : n.scratch.x);
    const auto* z = at<const uint2>(first ? from.z_inputs : n.scratch.z_inputs[(l + 1) % 2]);
    const int steps = n.gate / kTile;
    for (int tile = worker; tile < n.residual / kTile; tile += workers) {
      const int high = tile * kTile + row(), low = high + 8, pair = high / 2;
      const float2 above = reinterpret_cast<const float2*>(before)[(high * kColumns + column()) / 2];
      const float2 below = reinterpret_cast<const float2*>(before)[(low * kColumns + column()) / 2];
      float4 x = {above.x, above.y, below.x, below.y};
      if (l > 0) {
        x.x += bias[high];
        x.y += bias[high];
        x.z += bias[low];
        x.w += bias[low];
        multiply(x, residual + tile * steps * kWarp, z, steps);
      }
      const int words[2] = {word_of(pair, paired()), word_of(pair + 4, paired())};
      const uint32_t inputs[2] = {pair_up(x.x, x.y), pair_up(x.z, x.w)};
      const int places[2] = {high * kColumns + column(), low * kColumns + column()};
      const float2 values[2] = {make_float2(x.x, x.y), make_float2(x.z, x.w)};
      for (int half = 0; half < 2; ++half) {
        reinterpret_cast<float2*>(at<float>(n.scratch.x))[places[half] / 2] = values[half];
        at<uint32_t>(n.scratch.x_inputs)[words[half]] = inputs[half];
        if (passes) {
          put(at<float>(to.x) + places[half], signal(), static_cast<uint32_t>(rank + 1), values[half]);
          put(at<uint32_t>(to.x_inputs) + words[half], signal(), static_cast<uint32_t>(rank + 1), inputs[half]);
        }
        const int channel = half ? low : high;
        if (column() < streams.count) run.memory[rows(l)[column()] + channel] = values[half].x;
        if (column() + 1 < streams.count) run.memory[rows(l)[column() + 1] + channel] = values[half].y;
      }
    }
  }

  // What the x that has just been made gives to the next layer.
  __device__ void look_ahead(const LayerBytes& bytes, int l, int worker, int workers) const {
    const int steps = n.residual / kTile;
    for (int tile = worker; tile < n.gate / 8; tile += workers) {
      float4 sums = *sums_of(l, tile);
      multiply(sums, kept(current_at(bytes, l)) + tile * steps * kWarp, at<const uint2>(n.scratch.x_inputs), steps);
      *sums_of(l, tile) = sums;
    }
  }

  // z of layer l goes to the skip blocks, and to the next block if that has the next layer.
  __device__ void gate(const LayerBytes& bytes, int l, const Message& from, const Message& to, int worker,
                       int workers) const {
    const bool first = l == place.first, passes = l + 1 == place.end && l + 1 < n.layers;
    const auto* current = kept(current_at(bytes, l));
    const auto* folded = kept(current_at(bytes, l) - bytes.bias - bytes.folded);
    const auto* x = at<const uint2>(kFolded ? from.x_inputs : n.scratch.x_inputs);
    const auto* z = at<const uint2>(first ? from.z_inputs : n.scratch.z_inputs[(l + 1) % 2]);
    for (int tile = worker; tile < n.gate / 8; tile += workers) {
      float4 sums = *sums_of(l, tile);
      if (first || !kFolded) multiply(sums, current + tile * (n.residual / kTile) * kWarp, x, n.residual / kTile);
      if (kFolded && l > 0) multiply(sums, folded + tile * (n.gate / kTile) * kWarp, z, n.gate / kTile);
      const uint32_t pair = pair_up(gated(sums.x, sums.z), gated(sums.y, sums.w));
      const int word = word_of(tile * 4 + row() / 2, paired());
      at<uint32_t>(n.scratch.z_inputs[l % 2])[word] = pair;
      if (passes) put(at<uint32_t>(to.z_inputs) + word, signal(), static_cast<uint32_t>(rank + 1), pair);
      uint32_t* skip = at<uint32_t>(n.scratch.z) + l * n.gate * kColumns / 2 + word;
      for (int block = 0; block < n.skip_blocks; ++block) {
        put(skip, signal(l), static_cast<uint32_t>(n.layer_blocks + block), pair);
      }
    }
  }

  // Blocks of skip channels: the head's share, the bias, then layer after layer from the last, which is waited for.

  __device__ void skips() const {
    const int tiles = place.end - place.first, steps = n.gate / kTile;
    const int64_t share = LayerBytes::tiles(n.head, tiles * kTile), bias = share, last = bias + tiles * kTile * 4;
    for (int64_t i = 0; i < run.samples; ++i) {
      float4 sums[kMostSkipTiles];
      for (int part = 0; part < kMostSkipTiles; ++part) {
        const int tile = warp() + part * kClusterWarps;
        if (tile >= tiles) continue;
        const auto* begin = kept<float>(bias) + tile * kTile + row();
        sums[part] = {begin[0], begin[0], begin[8], begin[8]};
      }
      for (int l = 0; l < n.layers && warp() < tiles; ++l) {
        const auto* layer = weights(last + int64_t{n.layers - 1 - l} * LayerBytes::tiles(tiles * kTile, n.gate));
        signal(l)->wait(static_cast<uint32_t>(i));
        const auto* z = at<const uint2>(n.scratch.z) + l * steps * kWarp;
        for (int part = 0; part < kMostSkipTiles; ++part) {
          const int tile = warp() + part * kClusterWarps;
          if (tile < tiles) multiply(sums[part], layer + tile * steps * kWarp, z, steps);
        }
      }
      for (int part = 0; part < kMostSkipTiles; ++part) {
        const int tile = warp() + part * kClusterWarps;
        if (tile >= tiles) continue;
        const int pair = tile * 8 + row() / 2;
        auto* inputs = at<uint32_t>(n.scratch.skip_inputs);
        inputs[word_of(pair, paired())] = pair_up(rectify(sums[part].x), rectify(sums[part].y));
        inputs[word_of(pair + 4, paired())] = pair_up(rectify(sums[part].z), rectify(sums[part].w));
      }
      __syncthreads();
      for (int l = thread(); l < n.layers && i + 1 < run.samples; l += kClusterThreads) signal(l)->expect(expected());
      float* partial = at<float>(n.scratch.partial) + (rank - n.layer_blocks) * n.head * kColumns;
      for (int tile = warp(); tile < n.head / kTile; tile += kClusterWarps) {
        float4 part = {0, 0, 0, 0};
        multiply(part, kept(0) + tile * tiles * kWarp, at<const uint2>(n.scratch.skip_inputs), tiles);
        float* to = partial + (tile * kTile + row()) * kColumns + column();
        const auto block = static_cast<uint32_t>(n.layer_blocks + n.skip_blocks);
        put(to, signal(), block, make_float2(part.x, part.y));
        put(to + 8 * kColumns, signal(), block, make_float2(part.z, part.w));
      }
    }
  }

  // The head's block: its second product, both biases, then the embedding, which may be too large to be kept.

  __device__ void head() const {
    const int width = n.width, steps = n.head / kTile;
    const int64_t biases = LayerBytes::tiles(width, n.head);
    const auto *hidden_bias = kept<float>(biases), *bias = hidden_bias + n.head;
    const auto* front = weights<float>(biases + (n.head + width) * 4);
    streams.fetch_tokens();
    __syncthreads();
    for (int s = warp(); s < streams.count; s += kClusterWarps) embed(front, s, 0);
    for (int64_t i = 0; i < run.samples; ++i) {
      signal()->wait(static_cast<uint32_t>(i));
      for (int k = thread(); k < n.head / 2 * kColumns; k += kClusterThreads) {
        const int s = k % kColumns, pair = k / kColumns;
        float low = hidden_bias[2 * pair], high = hidden_bias[2 * pair + 1];
        const float* partial = at<float>(n.scratch.partial) + 2 * pair * kColumns + s;
        for (int block = 0; block < n.skip_blocks; ++block, partial += n.head * kColumns) {
          low += partial[0];
          high += partial[kColumns];
        }
        at<uint32_t>(n.scratch.hidden)[word_of(pair, s)] = to_bfloat16_pair(rectify(low), rectify(high));
      }
      __syncthreads();
      if (thread() == 0 && i + 1 < run.samples) signal()->expect(expected());
      for (int tile = warp(); tile < width / kTile; tile += kClusterWarps) {
        const int high = tile * kTile + row(), low = high + 8;
        float4 out = {bias[high], bias[high], bias[low], bias[low]};
        multiply(out, kept(0) + tile * steps * kWarp, at<const uint2>(n.scratch.hidden), steps);
        keep(i, column(), high, out.x);
        keep(i, column() + 1, high, out.y);
        keep(i, column(), low, out.z);
        keep(i, column() + 1, low, out.w);
      }
      __syncthreads();
      for (int s = warp(); s < streams.count; s += kClusterWarps) {
        const bool taken =
            streams.take(s, i, at<float>(n.scratch.out) + s * width, at<float>(n.scratch.sorted) + s * n.sorted);
        if (!taken && lane() == 0) atomicExch(&streams.flags->failed, 1);  // others go on, and so it draws nothing
        if (i + 1 < run.samples) embed(front, s, i + 1);
      }
    }
    __syncthreads();
    if (!streams.flags->failed) streams.give_back();
  }

  __device__ void keep(int64_t i, int s, int j, float out) const {
    at<float>(n.scratch.out)[s * n.width + j] = out;
    if (run.outputs != nullptr && s < streams.count && j < n.outputs) {
      run.outputs[((streams.first + s) * run.samples + i) * n.outputs + j] = out;
    }
  }

  // One warp: x of stream s in a sample goes to the first layer.
  __device__ void embed(const float* front, int s, int64_t i) const {
    const Message to = message(i);
    for (int pair = lane(); pair < n.residual / 2; pair += kWarp) {
      const float low = streams.embedded(front, s, 2 * pair), high = streams.embedded(front, s, 2 * pair + 1);
      float* x = at<float>(to.x) + 2 * pair * kColumns + s;
      put(x, signal(), 0, __float_as_uint(low));
      put(x + kColumns, signal(), 0, __float_as_uint(high));
      put(at<uint32_t>(to.x_inputs) + word_of(pair, s), signal(), 0, to_bfloat16_pair(low, high));
    }
  }
};

template <bool kFolded>
__global__ void __launch_bounds__(kClusterThreads, 1)
    cluster(const __grid_constant__ ClusterNetwork network, const __grid_constant__ Job job) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  FW_DYNAMIC_SHARED(shared);
  const int64_t first = int64_t{blockIdx.x} / network.blocks * kColumns, left = job.run.streams - first;
  Member<kFolded>(network, job, shared, first, static_cast<int>(left < kColumns ? left : kColumns)).generate();
#else
  __trap();  // no clusters; the boundary does not launch it there
#endif
}

}  // namespace fw
