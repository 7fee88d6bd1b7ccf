// The loss of one row of outputs, and its gradient in the row's place: categorical, a mixture of logistics, a Gaussian.
// fastwave/distributions.py is the specification. Compiled once per instruction set; see cpu/isa.h.
//
// Rows come without bias, and laid out as HeadShape says. Each function returns the weighted loss.
#pragma once

#include "cpu/simd.h"
#include "cpu/training/head_tile.h"

namespace fw::cpu::FW_ISA {
namespace {

constexpr float kHalfLevels = 32768, kHalfBin = 1 / 65536.0f;  // the mixture is discretised to 16 bits

// row += bias; returns the highest of its values.
inline float add_bias(float* row, const float* bias, int64_t count) {
  Vec most = fill(-3.4e38f);
  for (int64_t j = 0; j < count; j += kLanes) {
    const Vec value = load(row + j) + load(bias + j);
    store(row + j, value);
    most = value > most ? value : most;
  }
  return largest_lane(most);
}

// row = e^(row - highest); returns the sum.
inline float soften(float* row, float highest, int64_t count) {
  Vec sum{};
  for (int64_t j = 0; j < count; j += kLanes) {
    const Vec power = decay(load(row + j) - highest);
    store(row + j, power);
    sum += power;
  }
  return sum_of_lanes(sum);
}

inline double logarithm(float value) {
  return __builtin_log(static_cast<double>(value));
}

double categorical(float* row, const float* bias, int64_t classes, int64_t target, float weight) {
  const float highest = add_bias(row, bias, classes), hit = row[target], total = soften(row, highest, classes);
  const Vec scale = fill(weight / total);
  for (int64_t j = 0; j < classes; j += kLanes) store(row + j, load(row + j) * scale);
  row[target] -= weight;
  const double nats = logarithm(total) + static_cast<double>(highest) - hit;
  return nats * static_cast<double>(weight);
}

// 1 / (1 + e^-x), where `fall` is e^-|x|.
inline Vec sigmoid(Vec x, Vec fall) {
  return (x < Vec{} ? fall : fill(1)) / (1.0f + fall);
}

inline Vec magnitude(Vec x) {
  return x < Vec{} ? -x : x;
}

// Where a target lies among the levels; the lowest and the highest take the tails.
struct Level {
  float centre;
  bool lowest, highest;
};

inline Level level_of(float target) {
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, ties to even
  const float at = target * kHalfLevels, highest = kHalfLevels - 1;
  const float bounded = at < -kHalfLevels ? -kHalfLevels : at > highest ? highest : at;  // NaN stays NaN
  const float level = bounded + kRounder - kRounder;
  return {level / kHalfLevels, level == -kHalfLevels, level == highest};
}

// What a component gives to a target: the probability of its bin is e^tails * share, and these are the derivatives of
// its logarithm by mean and log scale. sigmoid(u) - sigmoid(l) = sigmoid(u) * sigmoid(-l) * (1 - e^(l-u)), exact in the
// tails, where `share` lies between 4e-11 and 1; u and l are the upper and the lower end of the bin.
struct Component {
  Vec tails, share, by_mean, by_log_scale;
};

inline Component component_of(const Level& level, Vec mean, Vec log_scale) {
  const Vec bounded = at_most(kLogScaleCeiling, at_least(kLogScaleFloor, log_scale));
  const Exponential e = exponential(-bounded);
  const Vec sharpness = multiply_add(e.power, e.part, e.power);
  const Vec apart = level.centre - mean;  // first: half a bin would round away beside a large mean, not beside this
  const Vec upper = (apart + kHalfBin) * sharpness, lower = (apart - kHalfBin) * sharpness;
  const Vec width = 2 * kHalfBin * sharpness;
  const Vec upper_fall = decay(-magnitude(upper)), lower_fall = decay(-magnitude(lower));
  const Exponential narrowed = exponential(-width);                                         // width < 5
  const Vec missing = -multiply_add(narrowed.power, narrowed.part, narrowed.power - 1.0f);  // 1 - e^-width
  Component c{Vec{}, fill(1), Vec{}, Vec{}};
  if (!level.highest) {  // below the upper end
    const Vec above = sigmoid(-upper, upper_fall);
    c.tails += upper < Vec{} ? upper : Vec{};
    c.share /= 1.0f + upper_fall;
    c.by_mean -= above * sharpness;
    c.by_log_scale -= upper * above;
  }
  if (!level.lowest) {  // above the lower end
    const Vec below = sigmoid(lower, lower_fall);
    c.tails -= lower > Vec{} ? lower : Vec{};
    c.share /= 1.0f + lower_fall;
    c.by_mean += below * sharpness;
    c.by_log_scale += lower * below;
  }
  if (!level.lowest && !level.highest) {
    c.share *= missing;
    c.by_log_scale -= width * (1.0f - missing) / missing;
  }
  const auto moves = (log_scale >= fill(kLogScaleFloor)) & (log_scale <= fill(kLogScaleCeiling));
  c.by_log_scale = moves ? c.by_log_scale : Vec{};
  return c;
}

// The columns of a part that hold no component have a logit of -3e38, so that all that comes of them is zero.
double mixture(float* row, const float* bias, int64_t part, float target, float weight) {
  float *const logits = row, *const means = row + part, *const log_scales = row + 2 * part;
  const float highest = add_bias(row, bias, part);
  const Level level = level_of(target);
  Vec most = fill(-3.4e38f);  // of the logarithms of weight and tails
  for (int64_t j = 0; j < part; j += kLanes) {
    const Vec mean = load(means + j) + load(bias + part + j);
    const Vec log_scale = load(log_scales + j) + load(bias + 2 * part + j);
    store(means + j, mean);
    store(log_scales + j, log_scale);
    const Vec logit = load(logits + j) + component_of(level, mean, log_scale).tails;
    most = logit > most ? logit : most;
  }
  const float nearest = largest_lane(most);
  Vec prior_sum{}, sum{};
  for (int64_t j = 0; j < part; j += kLanes) {
    const Component c = component_of(level, load(means + j), load(log_scales + j));
    prior_sum += decay(load(logits + j) - highest);
    sum += decay(load(logits + j) + c.tails - nearest) * c.share;
  }
  const float prior_total = sum_of_lanes(prior_sum), total = sum_of_lanes(sum);
  const Vec prior_scale = fill(weight / prior_total), scale = fill(weight / total);
  for (int64_t j = 0; j < part; j += kLanes) {
    const Component c = component_of(level, load(means + j), load(log_scales + j));
    const Vec logit = load(logits + j);
    const Vec taken = decay(logit + c.tails - nearest) * c.share * scale;  // weight times the component's posterior
    store(logits + j, decay(logit - highest) * prior_scale - taken);
    store(means + j, -taken * c.by_mean);
    store(log_scales + j, -taken * c.by_log_scale);
  }
  const double nats = logarithm(prior_total) - logarithm(total) + static_cast<double>(highest) - nearest;
  return nats * static_cast<double>(weight);
}

double gaussian(float* row, const float* bias, int64_t columns, float target, float weight) {
  constexpr double kHalfLogTwoPi = 0.91893853320467274;
  const float mean = row[0] + bias[0], log_scale = row[1] + bias[1];
  const double low = static_cast<double>(kLogScaleFloor), high = static_cast<double>(kLogScaleCeiling);
  const double wanted = static_cast<double>(log_scale);
  const double bounded = wanted < low ? low : wanted > high ? high : wanted;
  const double sharpness = __builtin_exp(-bounded);
  const double apart = (static_cast<double>(target) - static_cast<double>(mean)) * sharpness;
  const double by = static_cast<double>(weight);
  for (int64_t j = 0; j < columns; j += kLanes) store(row + j, Vec{});
  row[0] = static_cast<float>(-by * apart * sharpness);
  row[1] = bounded == wanted ? static_cast<float>(by * (1 - apart * apart)) : 0;
  return by * (kHalfLogTwoPi + bounded + 0.5 * apart * apart);
}

// Row `i` of a job.
inline double row_loss(const HeadJob& job, int64_t i, float* row) {
  const HeadShape& s = job.shape;
  if (s.output == FW_CATEGORICAL) {
    return categorical(row, job.bias1, s.columns(), job.target_classes[i], job.weights[i]);
  }
  if (s.output == FW_MIXTURE) return mixture(row, job.bias1, s.part_columns(), job.target_values[i], job.weights[i]);
  return gaussian(row, job.bias1, s.columns(), job.target_values[i], job.weights[i]);
}

}  // namespace
}  // namespace fw::cpu::FW_ISA
