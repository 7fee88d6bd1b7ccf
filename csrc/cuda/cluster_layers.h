// Blocks of a cluster that hold layers. A layer computes x from the x and z of the layer before, then its z from x.
// Folded, z does not wait for x:
//   current x[l] = current x[l-1] + (current residual) z[l-1], where the first product was made a layer ago.
// Half of the warps then make z while the other half makes x and looks ahead.
#pragma once

#include "cuda/cluster_member.h"

namespace fw::cuda {

template <bool kFolded>
struct LayersMember : Member {
  using Member::Member;

  static constexpr int kWorkers = kFolded ? kClusterWarps / 2 : kClusterWarps;

  // Of a layer's weights in this block
  LayerBytes bytes = LayerBytes(n, kFolded);

  __device__ int current_at(int l) const { return place.lead + (l - place.first) * bytes.stride(); }
  __device__ int past_at(int l) const {
    return current_at(place.end - 1) + bytes.current + (l - place.first) * (bytes.past + bytes.constants);
  }

  __device__ int32_t* slots(int l) const { return at<int32_t>(n.scratch.slots) + (l - place.first) * kColumns; }
  __device__ float** rings(int l) const { return at<float*>(n.scratch.rings) + (l - place.first) * kColumns; }
  __device__ uint32_t* past_of(int l) const {
    return at<uint32_t>(n.scratch.past + (l - place.first) * (n.taps - 1) * n.residual * kColumns * kHalf);
  }
  __device__ float4* preactivation_of(int l, int tile) const {
    return at<float4>(n.scratch.preactivation) + ((l - place.first) * (n.gate / 8) + tile) * kWarp + lane();
  }

  __device__ void generate() const {
    for (int i = thread(); i < (place.end - place.first) * streams.count; i += kClusterThreads) {
      const int l = place.first + i / streams.count, s = i % streams.count;
      const int32_t slot = streams.slot_of(s, n.slots[l]);
      slots(l)[s] = slot == 0 ? n.slots[l] - 1 : slot - 1;  // of the sample before
    }
    for (int64_t i = 0; i < run.samples; ++i) {
      if (thread() == 0 && i > 0) signal()->expect(expected());
      begin_sample();
      const Message here = message(i);
      signal()->wait(static_cast<uint32_t>(i));
      for (int l = place.first; l < place.end; ++l) {
        if (!kFolded) {
          add(l, here, warp());
          __syncthreads();
          activate(l, here, warp());
        } else if (warp() < kWorkers) {
          activate(l, here, warp());
        } else {
          add(l, here, warp() - kWorkers);
          if (l + 1 < place.end) {
            barrier_of(1, kWorkers * kWarp);
            look_ahead(l + 1, warp() - kWorkers);
          }
        }
        __syncthreads();
      }
    }
  }

  // Advances the rings, and adds up what a sample's preactivations need of the past: nobody waits for it.
  __device__ void begin_sample() const {
    const int layers = place.end - place.first;
    for (int s = thread(); s < streams.count && run.projected != nullptr; s += kClusterThreads) streams.locate(s);
    for (int i = thread(); i < layers * streams.count; i += kClusterThreads) {
      const int l = place.first + i / streams.count, s = i % streams.count;
      int32_t& slot = slots(l)[s];
      slot = slot + 1 == n.slots[l] ? 0 : slot + 1;
      float* const ring = run.memory + (streams.first + s) * n.memory_floats + n.memory[l];
      rings(l)[s] = ring + int64_t{slot} * n.residual;
    }
    __syncthreads();
    const int pairs = (n.taps - 1) * n.residual / 2;
    for (int i = thread(); i < layers * streams.count * pairs; i += kClusterThreads) {
      const int pair = i % pairs, s = i / pairs % streams.count, l = place.first + i / pairs / streams.count;
      const int tap = 2 * pair / n.residual, channel = 2 * pair % n.residual;
      int ahead = tap * n.dilations[l];
      if (slots(l)[s] + ahead >= n.slots[l]) ahead -= n.slots[l];  // the oldest tap stands where the newest will
      const float* const x = rings(l)[s] + int64_t{ahead} * n.residual + channel;
      past_of(l)[word_of(static_cast<unsigned>(pair), static_cast<unsigned>(s))] = to_bfloat16_pair(x[0], x[1]);
    }
    __syncthreads();
    const int tiles = n.gate / 8, steps = (n.taps - 1) * n.residual / kTile;
    for (int i = warp(); i < layers * tiles; i += kClusterWarps) {
      const int l = place.first + i / tiles, tile = i % tiles, past = past_at(l), filter = tile * 8 + row();
      const auto* constants = reinterpret_cast<const float*>(place.weights + past + bytes.past);
      float4 preactivation = {begun(constants, l, column(), filter), begun(constants, l, column() + 1, filter),
                              begun(constants, l, column(), n.gate + filter),
                              begun(constants, l, column() + 1, n.gate + filter)};
      multiply(preactivation, weights(past) + tile * steps * kWarp, reinterpret_cast<const uint2*>(past_of(l)), steps);
      *preactivation_of(l, tile) = preactivation;
    }
    for (int s = thread(); s < streams.count; s += kClusterThreads) ++streams.positions[s].time;
    __syncthreads();
  }

  // constants: the layer's biases, and what folding adds to them.
  __device__ float begun(const float* constants, int l, int s, int j) const {
    return s < streams.count ? streams.conditioned(l, s, j, constants) + constants[2 * n.gate + j] : 0;
  }

  // Whether layer l's x and z go to another block of layers.
  __device__ bool passes(int l) const { return l + 1 == place.end && l + 1 < n.layers; }

  // Computes x of layer l, and writes it to its ring.
  __device__ void add(int l, const Message& message, int worker) const {
    const bool first = l == place.first;
    const int current = current_at(l), steps = n.gate / kTile;
    const auto* residual = kept(current - bytes.bias - bytes.folded - bytes.residual);
    const auto* bias = kept<float>(current - bytes.bias);
    const auto* before = at<const float2>(first ? message.x : n.scratch.x);
    const auto* z = at<const uint2>(first ? message.z_inputs : n.scratch.z_inputs[(l + 1) % 2]);
    for (int tile = worker; tile < n.residual / kTile; tile += kWorkers) {
      const int channel = tile * kTile + row(), here = (channel * kColumns + column()) / 2;
      const int inputs_here = tile * kWarp + paired_place();
      const float2 high = before[here], low = before[here + 4 * kColumns];
      float4 x = {high.x, high.y, low.x, low.y};
      if (l > 0) {
        const float2 added = {bias[channel], bias[channel + 8]};
        x = {x.x + added.x, x.y + added.x, x.z + added.y, x.w + added.y};
        multiply(x, residual + tile * steps * kWarp, z, steps);
      }
      const uint2 inputs = {pair_up(x.x, x.y), pair_up(x.z, x.w)};
      at<uint2>(n.scratch.x_inputs)[inputs_here] = inputs;
      at<float2>(n.scratch.x)[here] = {x.x, x.y};
      at<float2>(n.scratch.x)[here + 4 * kColumns] = {x.z, x.w};
      if (passes(l)) {
        const auto next = static_cast<uint32_t>(rank + 1);
        put(at<uint2>(message.x_inputs) + inputs_here, signal(), next, inputs);
        put(at<float2>(message.x) + here, signal(), next, float2{x.x, x.y});
        put(at<float2>(message.x) + here + 4 * kColumns, signal(), next, float2{x.z, x.w});
      }
      float* const* const rows = rings(l) + column();
      if (float* ring = rows[0]) {
        ring[channel] = x.x;
        ring[channel + 8] = x.z;
      }
      if (float* ring = rows[1]) {
        ring[channel] = x.y;
        ring[channel + 8] = x.w;
      }
    }
  }

  // Adds the product of the new x to the preactivations of layer l, the next one.
  __device__ void look_ahead(int l, int worker) const {
    const int steps = n.residual / kTile;
    for (int tile = worker; tile < n.gate / 8; tile += kWorkers) {
      float4 preactivation = *preactivation_of(l, tile);
      multiply(preactivation, kept(current_at(l)) + tile * steps * kWarp, at<const uint2>(n.scratch.x_inputs), steps);
      *preactivation_of(l, tile) = preactivation;
    }
  }

  // Computes z of layer l, and sends it to the skip blocks.
  __device__ void activate(int l, const Message& message, int worker) const {
    const bool first = l == place.first;
    const int of_x = n.residual / kTile, of_z = n.gate / kTile;
    const auto *current = kept(current_at(l)), *folded = kept(current_at(l) - bytes.bias - bytes.folded);
    const auto* x = at<const uint2>(kFolded ? message.x_inputs : n.scratch.x_inputs);
    const auto* z = at<const uint2>(first ? message.z_inputs : n.scratch.z_inputs[(l + 1) % 2]);
    for (int tile = worker; tile < n.gate / 8; tile += kWorkers) {
      float4 preactivation = *preactivation_of(l, tile);
      if (first || !kFolded) multiply(preactivation, current + tile * of_x * kWarp, x, of_x);
      if (kFolded && l > 0) multiply(preactivation, folded + tile * of_z * kWarp, z, of_z);
      const uint32_t pair = pair_up(gated(preactivation.x, preactivation.z), gated(preactivation.y, preactivation.w));
      const int word = (tile / 2 * kWarp + paired_place()) * 2 + tile % 2;  // 8 channels are half of an input tile
      at<uint32_t>(n.scratch.z_inputs[l % 2])[word] = pair;
      if (passes(l)) put(at<uint32_t>(message.z_inputs) + word, signal(), static_cast<uint32_t>(rank + 1), pair);
      uint32_t* const skip = at<uint32_t>(n.scratch.z + l * n.gate * kColumns * kHalf) + word;
#pragma unroll 1
      for (int block = 0; block < n.skip_blocks; ++block) {
        put(skip, signal(l), static_cast<uint32_t>(n.layer_blocks + block), pair);
      }
    }
  }
};

}  // namespace fw::cuda
