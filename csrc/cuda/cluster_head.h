// The block of a cluster that holds the head's second matrix: it draws, and embeds what it has drawn.
#pragma once

#include "cuda/cluster_member.h"

namespace fw::cuda {

struct HeadMember : Member {
  using Member::Member;

  // Weights: the matrix, both biases, then the embedding, which may be too large to be kept.
  __device__ void generate() const {
    const int biases = tile_bytes(n.width, n.head);
    const auto *hidden_bias = kept<float>(biases), *bias = hidden_bias + n.head;
    const auto* front = weights<float>(biases + (n.head + n.width) * kNumber);
    streams.fetch_tokens();
    __syncthreads();
    for (int s = warp(); s < streams.count; s += kClusterWarps) embed(front, s, 0);
    for (int64_t i = 0; i < run.samples; ++i) {
      signal()->wait(static_cast<uint32_t>(i));
      hide(hidden_bias);
      __syncthreads();
      if (thread() == 0 && i + 1 < run.samples) signal()->expect(expected());
      put_out(bias, i);
      __syncthreads();
      for (int s = warp(); s < streams.count; s += kClusterWarps) {
        float* const out = at<float>(n.scratch.out) + s * n.width;
        const bool taken = streams.take(s, i, out, at<float>(n.scratch.sorted) + s * n.sorted);
        if (!taken && lane() == 0)
          atomicExch(&streams.flags->failed, 1);  // the cluster runs to the end, without a result
        if (i + 1 < run.samples) embed(front, s, i + 1);
      }
    }
    __syncthreads();
    if (!streams.flags->failed) streams.write_back();
  }

  // The first product's shares, rectified.
  __device__ void hide(const float* bias) const {
    for (int k = thread(); k < n.head / 2 * kColumns; k += kClusterThreads) {
      const int s = k % kColumns, pair = k / kColumns;
      float low = bias[2 * pair], high = bias[2 * pair + 1];
      const float* partial = at<float>(n.scratch.partial) + 2 * pair * kColumns + s;
      for (int block = 0; block < n.skip_blocks; ++block, partial += n.head * kColumns) {
        low += partial[0];
        high += partial[kColumns];
      }
      const unsigned word = word_of(static_cast<unsigned>(pair), static_cast<unsigned>(s));
      at<uint32_t>(n.scratch.hidden)[word] = to_bfloat16_pair(relu(low), relu(high));
    }
  }

  __device__ void put_out(const float* bias, int64_t i) const {
    const int steps = n.head / kTile;
    for (int tile = warp(); tile < n.width / kTile; tile += kClusterWarps) {
      const int high = tile * kTile + row(), low = high + 8;
      float4 out = {bias[high], bias[high], bias[low], bias[low]};
      multiply(out, kept(0) + tile * steps * kWarp, at<const uint2>(n.scratch.hidden), steps);
      keep(i, column(), high, out.x);
      keep(i, column() + 1, high, out.y);
      keep(i, column(), low, out.z);
      keep(i, column() + 1, low, out.w);
    }
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
      const float low = streams.embedded(front, s, 2 * pair, i), high = streams.embedded(front, s, 2 * pair + 1, i);
      const unsigned word = word_of(static_cast<unsigned>(pair), static_cast<unsigned>(s));
      float* const x = at<float>(to.x) + 2 * pair * kColumns + s;
      put(x, signal(), 0, __float_as_uint(low));
      put(x + kColumns, signal(), 0, __float_as_uint(high));
      put(at<uint32_t>(to.x_inputs) + word, signal(), 0, to_bfloat16_pair(low, high));
    }
  }
};

}  // namespace fw::cuda
