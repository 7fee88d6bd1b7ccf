// What the programs that sweep over random networks share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "check.h"
#include "fastwave.h"
#include "random.h"

namespace {

using fw_test::Random;

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

// Prints what a program has found, and on which instruction sets -> its exit status.
inline int report(const char* part) {
  std::printf("%s: instruction sets", part);
  for (int32_t isa = FW_ISA_PORTABLE; isa <= FW_ISA_NEON_DOTPROD; ++isa) {
    if (usable_isas() >> isa & 1) std::printf(" %d", isa);
  }
  std::printf(": %d checks, %d failed\n", checks.load(), failures.load());
  return failures == 0 ? 0 : 1;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof a[0]) == 0);
}

}  // namespace
