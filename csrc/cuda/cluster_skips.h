// Blocks of a cluster that hold skip channels: each computes its channels of the skip sum over all layers, and relu of
// them, multiplies those by its share of the head's first matrix, and sends the product to the head's block.
#pragma once

#include "cuda/cluster_member.h"

namespace fw::cuda {

inline constexpr int kMostSkipTiles = 2;  // of a warp, which keeps their sums in registers

struct SkipsMember : Member {
  using Member::Member;

  // Order of the weights: the share of the head, the bias, then the layers from the last to the first. Those that other
  // blocks wait for, up to the last layer, come first, and are certain to be in shared memory.
  __device__ void generate() const {
    const int tiles = place.end - place.first, steps = n.gate / kTile;
    const int bias = tile_bytes(n.head, tiles * kTile), last = bias + tiles * kTile * kNumber;
    const int layer_bytes = tile_bytes(tiles * kTile, n.gate);
    for (int64_t i = 0; i < run.samples; ++i) {
      float4 sums[kMostSkipTiles];
      for (int part = 0; part < kMostSkipTiles; ++part) {
        const int tile = warp() + part * kClusterWarps;
        if (tile >= tiles) continue;
        const auto* begin = kept<float>(bias) + tile * kTile + row();
        sums[part] = {begin[0], begin[0], begin[8], begin[8]};
      }
      for (int l = 0; l < n.layers && warp() < tiles; ++l) {
        const auto* layer = weights(last + (n.layers - 1 - l) * layer_bytes);
        const auto* z = at<const uint2>(n.scratch.z) + l * steps * kWarp;
        signal(l)->wait(static_cast<uint32_t>(i));
        for (int part = 0; part < kMostSkipTiles; ++part) {
          const int tile = warp() + part * kClusterWarps;
          if (tile < tiles) multiply(sums[part], layer + tile * steps * kWarp, z, steps);
        }
      }
      for (int part = 0; part < kMostSkipTiles; ++part) {
        const int tile = warp() + part * kClusterWarps;
        if (tile >= tiles) continue;
        at<uint2>(n.scratch.skip_inputs)[tile * kWarp + paired_place()] = {
            pair_up(relu(sums[part].x), relu(sums[part].y)), pair_up(relu(sums[part].z), relu(sums[part].w))};
      }
      __syncthreads();
      send_share(tiles);
      for (int l = thread(); l < n.layers && i + 1 < run.samples; l += kClusterThreads) signal(l)->expect(expected());
    }
  }

  __device__ void send_share(int tiles) const {
    const auto head = static_cast<uint32_t>(n.layer_blocks + n.skip_blocks);
    float* const partial = at<float>(n.scratch.partial) + (rank - n.layer_blocks) * n.head * kColumns;
    for (int tile = warp(); tile < n.head / kTile; tile += kClusterWarps) {
      float4 part = {0, 0, 0, 0};
      multiply(part, kept(0) + tile * tiles * kWarp, at<const uint2>(n.scratch.skip_inputs), tiles);
      float* const to = partial + (tile * kTile + row()) * kColumns + column();
      put(to, signal(), head, float2{part.x, part.y});
      put(to + 8 * kColumns, signal(), head, float2{part.z, part.w});
    }
  }
};

}  // namespace fw::cuda
