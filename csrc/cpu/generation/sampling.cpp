// Random numbers and the choice of a class: the parts that vectors do not speed up.
#include <algorithm>

#include "cpu/generation/engine.h"
#include "status.h"

namespace fw::cpu {
namespace {

constexpr int kRounds = 10;

// Zeroes all but the `count` largest of `weights`; among equals the lower class stays.
void keep_largest(float* weights, int64_t classes, int64_t count, int32_t* order) {
  for (int64_t i = 0; i < classes; ++i) order[i] = static_cast<int32_t>(i);
  const auto before = [weights](int32_t a, int32_t b) {
    return weights[a] > weights[b] || (weights[a] == weights[b] && a < b);
  };
  std::nth_element(order, order + count, order + classes, before);
  for (int64_t i = count; i < classes; ++i) weights[order[i]] = 0;
}

// The fewest classes, the largest first, whose sum reaches `share` of the total.
void keep_share(float* weights, int64_t classes, float share, int32_t* order) {
  float total = 0;
  for (int64_t i = 0; i < classes; ++i) {
    total += weights[i];
    order[i] = static_cast<int32_t>(i);
  }
  const auto after = [weights](int32_t a, int32_t b) {
    return weights[a] < weights[b] || (weights[a] == weights[b] && a > b);
  };
  std::make_heap(order, order + classes, after);  // only the few that stay are popped; sorting all 256 costs 10 us
  const float needed = share * total;
  float sum = 0;
  int64_t left = classes;
  while (left > 0) {
    std::pop_heap(order, order + left, after);
    sum += weights[order[--left]];
    if (!(sum < needed)) break;
  }
  for (int64_t i = 0; i < left; ++i) weights[order[i]] = 0;
}

}  // namespace

int64_t draw_class(float* weights, int64_t classes, float uniform, int64_t top_k, float top_p, int32_t* order) {
  if (top_k > 0 && top_k < classes) keep_largest(weights, classes, top_k, order);
  if (top_p < 1) keep_share(weights, classes, top_p, order);
  float sum = 0;
  for (int64_t i = 0; i < classes; ++i) weights[i] = sum += weights[i];  // in class order, as the specification adds
  // u <= 1 - 2^-24 keeps u * total below the total, so there is always a first sum above it
  return std::upper_bound(weights, weights + classes, uniform * sum) - weights;
}

float philox_uniform(uint64_t seed, uint64_t time, uint32_t stream, uint32_t draw) {
  uint32_t c[4] = {static_cast<uint32_t>(time), static_cast<uint32_t>(time >> 32), stream, draw};
  uint32_t k[2] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0], p1 = uint64_t{0xCD9E8D57} * c[2];
    const uint32_t next[4] = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(p1),
                              static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(p0)};
    std::copy(next, next + 4, c);
    k[0] += 0x9E3779B9;
    k[1] += 0xBB67AE85;
  }
  return static_cast<float>(c[0] >> 8) * 0x1p-24f;
}

}  // namespace fw::cpu

FW_API int32_t fw_noise_cpu(uint64_t seed, int64_t stream, int64_t first, int64_t count, int64_t draws,
                            float* destination) {
  if (destination == nullptr || stream < 0 || stream > UINT32_MAX || first < 0 || count < 0 ||
      first > INT64_MAX - count || draws < 1 || draws > UINT32_MAX) {
    return fw::fail(FW_INVALID_ARGUMENT, "noise: an argument is null or out of range");
  }
  for (int64_t t = 0; t < count; ++t) {
    for (int64_t draw = 0; draw < draws; ++draw) {
      destination[t * draws + draw] = fw::cpu::philox_uniform(
          seed, static_cast<uint64_t>(first + t), static_cast<uint32_t>(stream), static_cast<uint32_t>(draw));
    }
  }
  return FW_OK;
}
