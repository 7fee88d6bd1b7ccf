// One draw by one warp, in the order that the specification fixes. All 32 lanes call; all get the result.
#pragma once

#include <math.h>

#include "cuda/job.h"

namespace fw::cuda {

inline constexpr int kBatch = 8;  // values loaded together before they are added one by one: one latency for all

__device__ inline int lane() {
  return static_cast<int>(threadIdx.x) % kWarp;
}

__device__ inline float philox_uniform(uint64_t seed, uint64_t time, uint32_t stream, uint32_t draw) {
  uint32_t c0 = static_cast<uint32_t>(time), c1 = static_cast<uint32_t>(time >> 32), c2 = stream, c3 = draw;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c0, p1 = uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return static_cast<float>(c0 >> 8) * 0x1p-24f;
}

__device__ inline int sum_over_warp(int value) {
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}

__device__ inline float largest_of(const float* values, int count) {
  float most = -INFINITY;
  for (int j = lane(); j < count; j += kWarp) most = fmaxf(most, values[j]);
  for (int step = kWarp / 2; step > 0; step /= 2) most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, step));
  return most;
}

// The likeliest class; of several, the lowest.
__device__ inline int likeliest(const float* values, int count) {
  int best = -1;
  float most = -INFINITY;
  for (int j = lane(); j < count; j += kWarp) {
    if (best < 0 || values[j] > most) {
      best = j;
      most = values[j];
    }
  }
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const int other = __shfl_xor_sync(kAllLanes, best, step);
    const float value = __shfl_xor_sync(kAllLanes, most, step);
    if (other >= 0 && (best < 0 || value > most || (value == most && other < best))) {
      best = other;
      most = value;
    }
  }
  return best;
}

// values[j] becomes the sum of values[0 .. j], added in that order in float32; returns the last. One lane's work.
__device__ inline float running_sums(float* values, int count) {
  float sum = 0;
  int j = 0;
  for (; j + kBatch <= count; j += kBatch) {
    float next[kBatch];
    for (int i = 0; i < kBatch; ++i) next[i] = values[j + i];
    for (int i = 0; i < kBatch; ++i) values[j + i] = sum += next[i];
  }
  for (; j < count; ++j) values[j] = sum += values[j];
  return sum;
}

__device__ inline float sum_in_order(const float* values, int count) {
  float sum = 0;
  for (int j = 0; j < count; ++j) sum += values[j];
  return sum;
}

// Zeroes all but the `kept` largest of `weights`, which lie in [0, 1]; among equals the lower class stays.
__device__ inline void keep_largest(float* weights, int count, int kept) {
  const auto at_least = [&](uint32_t bits) {  // floats that are not negative sort like their bits
    int found = 0;
    for (int j = lane(); j < count; j += kWarp) found += __float_as_uint(weights[j]) >= bits;
    return sum_over_warp(found);
  };
  uint32_t last = 0;                                   // bits of the smallest weight that is kept
  for (uint32_t bit = 1u << 29; bit > 0; bit >>= 1) {  // 1.0f is 0x3F800000, below 2^30
    if (at_least(last | bit) >= kept) last |= bit;
  }
  int room = kept - at_least(last + 1);  // for those that equal the smallest
  for (int first = 0; first < count; first += kWarp) {
    const int j = first + lane();
    const uint32_t bits = j < count ? __float_as_uint(weights[j]) : 0;
    const bool equal = j < count && bits == last;
    const unsigned equals = __ballot_sync(kAllLanes, equal);
    const int before = __popc(equals & ((1u << lane()) - 1));
    if (j < count && bits <= last && !(equal && before < room)) weights[j] = 0;
    room -= __popc(equals);
  }
  __syncwarp();
}

// How many of the likeliest classes together reach `share` of the total. `sorted` has room for a power of two >= count.
__device__ inline int needed_for(const float* weights, int count, float share, float* sorted) {
  int size = 1;
  while (size < count) size *= 2;
  for (int j = lane(); j < size; j += kWarp) sorted[j] = j < count ? weights[j] : 0;
  __syncwarp();
  for (int run = 2; run <= size; run *= 2) {  // bitonic, the largest first
    for (int gap = run / 2; gap > 0; gap /= 2) {
      for (int i = lane(); i < size / 2; i += kWarp) {
        const int low = i / gap * 2 * gap + i % gap, high = low + gap;
        const float a = sorted[low], b = sorted[high];
        if ((a < b) == ((low & run) == 0)) {
          sorted[low] = b;
          sorted[high] = a;
        }
      }
      __syncwarp();
    }
  }
  int needed = 0;
  if (lane() == 0) {
    const float goal = share * sum_in_order(weights, count);
    float sum = 0;
    while (needed < count && (sum += sorted[needed]) < goal) ++needed;
    ++needed;
  }
  __syncwarp();  // the caller changes the weights only after lane 0 has read them
  return __shfl_sync(kAllLanes, needed, 0);
}

// The smallest class whose running sum exceeds u * total. u <= 1 - 2^-24 keeps that below the total, so there is one.
__device__ inline int draw_class(float* weights, int count, float uniform) {
  float total = 0;
  if (lane() == 0) total = running_sums(weights, count);
  __syncwarp();
  const float goal = uniform * __shfl_sync(kAllLanes, total, 0);
  for (int first = 0; first < count; first += kWarp) {
    const int j = first + lane();
    const unsigned above = __ballot_sync(kAllLanes, j < count && weights[j] > goal);
    if (above != 0) return first + __ffs(static_cast<int>(above)) - 1;
  }
  return count - 1;
}

// exp((value - largest) / temperature), in place
__device__ inline void soften(float* values, int count, float temperature) {
  const float largest = largest_of(values, count);
  for (int j = lane(); j < count; j += kWarp) values[j] = expf((values[j] - largest) / temperature);
  __syncwarp();
}

__device__ inline int draw_categorical(const Shape& n, const fw_run_t& run, float* out, float uniform, float* sorted) {
  if (run.temperature == 0) return likeliest(out, n.outputs);
  soften(out, n.outputs, run.temperature);
  if (run.top_k > 0 && run.top_k < n.outputs) keep_largest(out, n.outputs, run.top_k);
  if (run.top_p < 1) {
    const int needed = needed_for(out, n.outputs, run.top_p, sorted);
    if (needed < n.outputs) keep_largest(out, n.outputs, needed);
  }
  return draw_class(out, n.outputs, uniform);
}

__device__ inline float clamped(float value, float low, float high) {
  return value < low ? low : value > high ? high : value;
}

__device__ inline float draw_value(const Shape& n, const fw_run_t& run, float* out, float uniform0, float uniform1) {
  float mean, log_scale, unit;
  if (n.output == FW_MIXTURE) {
    const int components = n.outputs / 3;
    soften(out, components, 1);
    const int j = draw_class(out, components, uniform0);
    mean = out[components + j];
    log_scale = out[2 * components + j];
    const float u = clamped(uniform1, 1e-5f, 1 - 1e-5f);
    unit = logf(u / (1 - u));
  } else {
    mean = out[0];
    log_scale = out[1];
    unit = sqrtf(-2 * log1pf(-uniform0)) * cosf(6.28318531f * uniform1);
  }
  const float scale = expf(clamped(log_scale, kLogScaleFloor, kLogScaleCeiling));
  return clamped(mean + run.temperature * scale * unit, -1, 1);
}

}  // namespace fw::cuda
