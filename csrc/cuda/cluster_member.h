// What the blocks of a cluster have in common: which part of the network each holds, and how they multiply.
#pragma once

#include "cuda/instructions.h"
#include "cuda/streams.h"

namespace fw::cuda {

inline constexpr int kClusterThreads = 512, kClusterWarps = kClusterThreads / kWarp;
inline constexpr int kColumns = 8;            // streams of a cluster
inline constexpr int kMostMembers = 8;        // larger clusters are not portable
inline constexpr int kTile = 16;              // weights are in tiles of 16 x 16, half of one of inputs is 8 x 8
inline constexpr int kTileBytes = 512;        // 16 a lane
inline constexpr int kNumber = 4, kHalf = 2;  // bytes of a float, of a bfloat16

enum Role : int32_t { kLayers, kSkips, kHead, kIdle };

// A block's weights: the first `kept` bytes are copied to its shared memory, behind the scratch.
struct Place {
  Role role;
  int32_t first, end;  // layers; or tiles of 16 skip channels
  int32_t lead;        // layers: bytes before the first layer's `current`
  int32_t scratch, kept;
  const char* weights;
};

// Where the buffers of a block's scratch begin, in bytes. `inputs` are of a product, as multiply_tile wants them: for
// 16 channels of 8 streams, 32 lanes of two words.
struct ClusterScratch {
  int32_t positions, flags, signals;  // [8] Position; Flags; layers: 1 Signal, skips: L, head: 1
  // layers
  int32_t rings, slots;         // [layers][8] float*: where the current sample's x goes; int32_t: its slot
  int32_t message, next;        // x [R][8] float, x inputs, z inputs; and the other one, for odd samples
  int32_t x, x_inputs;          // [R][8] float
  int32_t z_inputs[2];          // of even and of odd layers
  int32_t past, preactivation;  // [layers] inputs of (K-1) * R; [layers][2G / 16][32] float4, begun for the sample
  // skips
  int32_t z, skip_inputs;  // [L] inputs of G; inputs of the block's channels
  // head
  int32_t tokens;           // [8][K0]
  int32_t partial, hidden;  // [skip blocks][H][8] float; inputs of H
  int32_t out, sorted;      // [8][padded O] float; [8][a power of two >= O]
};

struct ClusterNetwork : Shape {
  Place places[kMostMembers];
  int32_t members, layer_blocks, skip_blocks;  // of `members` in this order, then the head
  int32_t width, sorted;                       // floats a stream: padded O; a power of two >= O
  ClusterScratch scratch;
  const int32_t *dilations, *slots;  // [L]
  const int64_t* memory;             // [L] where a layer's ring begins in a stream's memory
};

__host__ __device__ inline int32_t tile_bytes(int32_t out, int32_t in) {
  return out / kTile * (in / kTile) * kTileBytes;
}

// A layer's weights in memory order. The first layer of all has only `current`; `past` and `constants` (the biases, and
// what folding adds to them) of all layers of a block come after these.
struct LayerBytes {
  int32_t residual, folded, bias, current, past, constants;

  __host__ __device__ LayerBytes(const Shape& n, bool is_folded)
      : residual(tile_bytes(n.residual, n.gate)),
        folded(is_folded ? tile_bytes(2 * n.gate, n.gate) : 0),
        bias(n.residual * kNumber),
        current(tile_bytes(2 * n.gate, n.residual)),
        past(tile_bytes(2 * n.gate, (n.taps - 1) * n.residual)),
        constants(2 * n.gate * kNumber * 2) {}

  __host__ __device__ int32_t stride() const { return residual + folded + bias + current; }
};

// The place of channels 2 * pair and 2 * pair + 1 of a stream among the inputs of a product, in words.
__device__ inline unsigned word_of(unsigned pair, unsigned stream) {
  return (pair / 8 * kWarp + stream * 4 + pair % 4) * 2 + pair / 4 % 2;
}

// A lane of multiply_tile's result has a channel of two streams; its neighbour in `g` has the next channel, or the one
// before. Together they make two pairs of channels: this lane gets that of stream 2c or, if its own g is odd, 2c + 1.
__device__ inline uint32_t pair_up(float even, float odd) {
  const bool is_odd = lane() / 4 % 2 != 0;
  const float got = __shfl_xor_sync(kAllLanes, is_odd ? even : odd, 4);
  return is_odd ? to_bfloat16_pair(got, odd) : to_bfloat16_pair(even, got);
}

// A tile's result as inputs of the next product: this lane's place among the 32 of the tile, and its two words.
__device__ inline int paired_place() {
  const int g = lane() / 4, c = lane() % 4;
  return (2 * c + g % 2) * 4 + g / 2;
}

// A row of tiles times inputs. Two sums side by side, so that a product waits for the one before the last.
__device__ inline void multiply(float4& sums, const uint4* weights, const uint2* inputs, int steps) {
  float4 others = {0, 0, 0, 0};
  weights += lane();
  inputs += lane();
#pragma unroll 1
  for (; steps >= 4; steps -= 4, weights += 4 * kWarp, inputs += 4 * kWarp) {
    uint4 w[4];
    uint2 x[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      w[k] = weights[k * kWarp];
      x[k] = inputs[k * kWarp];
    }
    multiply_tile(sums, w[0], x[0]);
    multiply_tile(others, w[1], x[1]);
    multiply_tile(sums, w[2], x[2]);
    multiply_tile(others, w[3], x[3]);
  }
  if (steps & 2) {
    multiply_tile(sums, weights[0], inputs[0]);
    multiply_tile(others, weights[kWarp], inputs[kWarp]);
    weights += 2 * kWarp;
    inputs += 2 * kWarp;
  }
  if (steps & 1) multiply_tile(sums, weights[0], inputs[0]);
  sums.x += others.x;
  sums.y += others.y;
  sums.z += others.z;
  sums.w += others.w;
}

struct Member {
  const ClusterNetwork& n;
  const fw_run_t& run;
  unsigned char* shared;
  int rank;
  Place place;
  Streams streams;

  __device__ Member(const ClusterNetwork& network, const Job& job, unsigned char* shared_memory, int64_t first,
                    int count)
      : n(network),
        run(job.run),
        shared(shared_memory),
        rank(static_cast<int>(rank_in_cluster())),
        place(network.places[rank]),
        streams{network, job.run, job.outcome, first, count, {}, {}, {}} {
    streams.positions = at<Position>(n.scratch.positions);
    streams.tokens = at<char>(n.scratch.tokens);
    streams.flags = at<Flags>(n.scratch.flags);
  }

  template <class Value>
  __device__ Value* at(int offset) const {
    return reinterpret_cast<Value*>(shared + offset);
  }
  __device__ Signal* signal(int index = 0) const { return at<Signal>(n.scratch.signals) + index; }
  __device__ static int thread() { return static_cast<int>(threadIdx.x); }
  __device__ static int warp() { return thread() / kWarp; }
  // This lane's first channel of a tile's result, the second is 8 further; and the first of its two streams.
  __device__ static int row() { return lane() / 4; }
  __device__ static int column() { return lane() % 4 * 2; }

  // Weights that are certainly in shared memory; and any weights.
  template <class Value = uint4>
  __device__ const Value* kept(int offset) const {
    return at<const Value>(place.scratch + offset);
  }
  template <class Value = uint4>
  __device__ const Value* weights(int offset) const {
    if (offset < place.kept) return kept<Value>(offset);
    return reinterpret_cast<const Value*>(place.weights + offset);
  }

  // False where the run is refused; all blocks of the cluster then agree on that.
  __device__ bool set_up() const {
    for (int i = thread(); i < place.scratch / kNumber; i += kClusterThreads) at<uint32_t>(0)[i] = 0;
    const auto* from = reinterpret_cast<const uint4*>(place.weights);
    for (int i = thread(); i < place.kept / 16; i += kClusterThreads) at<uint4>(place.scratch)[i] = from[i];
    __syncthreads();
    streams.check();
    __syncthreads();
    if (streams.flags->refused) return false;
    const int signals = place.role == kIdle ? 0 : place.role == kSkips ? n.layers : 1;
    for (int i = thread(); i < signals; i += kClusterThreads) {
      signal(i)->prepare();
      signal(i)->expect(expected());
    }
    streams.fetch_times();
    cluster_barrier();
    return true;
  }

  // Bytes that a signal of this block expects for a sample.
  __device__ uint32_t expected() const {
    const int of_x = n.residual * (kNumber + kHalf), of_z = n.gate * kHalf;  // a stream
    if (place.role == kSkips) return static_cast<uint32_t>(of_z * kColumns);
    if (place.role == kHead) return static_cast<uint32_t>(n.skip_blocks * n.head * kNumber * kColumns);
    return static_cast<uint32_t>(rank == 0 ? of_x * streams.count : (of_x + of_z) * kColumns);
  }

  // A message to a block of layers: where its parts are.
  struct Message {
    int x, x_inputs, z_inputs;
  };
  __device__ Message message(int64_t sample) const {
    const int begin = sample % 2 ? n.scratch.next : n.scratch.message;
    const int x = n.residual * kColumns * kNumber, x_inputs = n.residual * kColumns * kHalf;
    return {begin, begin + x, begin + x + x_inputs};
  }
};

}  // namespace fw::cuda
