// What the programs that sweep over random networks share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "check.h"
#include "fastwave.h"

namespace {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  int64_t within(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(next() % static_cast<uint64_t>(high - low + 1));
  }
  float value(float size) { return size * (static_cast<float>(next() >> 40) * 0x1p-23f - 1); }
  std::vector<float> values(int64_t count, float size) {
    std::vector<float> made(static_cast<size_t>(count));
    for (float& each : made) each = value(size);
    return made;
  }

 private:
  uint64_t next() {  // splitmix64
    uint64_t z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
  }
  uint64_t state_;
};

int32_t usable_isas() {
  fw_features_t features;
  CHECK(fw_features_cpu(&features) == FW_OK);
  return features.usable_isas;
}

// The largest difference, relative to the largest expected value where that exceeds 1; infinite where one is NaN.
template <class Actual, class Expected>
double distance(const Actual& actual, const Expected& expected) {
  CHECK(actual.size() == expected.size());
  double most = 0, size = 1;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double value = actual[i], wanted = expected[i];
    if (!std::isfinite(value) || !std::isfinite(wanted)) return HUGE_VAL;
    most = std::max(most, std::fabs(value - wanted));
    size = std::max(size, std::fabs(wanted));
  }
  return most / size;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof a[0]) == 0);
}

}  // namespace
