// A network in double, to judge the CUDA engine's outputs by.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <vector>

#include "../native/networks.h"

namespace {

float to_bfloat16(float value) {
  uint32_t bits = __float_as_uint(value);
  return __uint_as_float((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000);
}

// The largest distance of the outputs from sums in double, after the same tokens, relative to the largest output.
// On a cluster inputs of products are bfloat16, but for those of folded ones at the same places.
double distance_from_exact(const Network& n, State s, const Samples& drawn, const Options& o, int32_t type,
                           bool on_cluster = false) {
  const fw_model_t& m = n.model;
  const auto input = [&](double value) {
    return on_cluster ? static_cast<double>(to_bfloat16(static_cast<float>(value))) : value;
  };
  const auto rounded = [&](float w) { return static_cast<double>(type == FW_BFLOAT16 ? to_bfloat16(w) : w); };
  const auto streams = static_cast<int64_t>(s.times.size()), r = m.residual, g = m.gate, wide = padded(r);
  const int64_t count = static_cast<int64_t>(drawn.outputs.size()) / streams / m.outputs;
  double most = 0, size = 1;
  for (int64_t stream = 0; stream < streams; ++stream) {
    float* const memory = s.memory.data() + stream * n.memory_floats();
    std::vector<double> tokens;
    for (int64_t k = 0; k < m.front_taps; ++k) {
      const auto at = static_cast<size_t>(stream * m.front_taps + k);
      tokens.push_back(m.classes ? static_cast<double>(s.last_classes[at]) : s.last_values[at]);
    }
    for (int64_t i = 0; i < count; ++i) {
      const int64_t p = s.times[static_cast<size_t>(stream)] + i - 1;
      std::vector<double> x(static_cast<size_t>(r), 0.0), skip(m.skip_bias, m.skip_bias + m.skip);
      for (int64_t j = 0; j < r; ++j) {
        if (m.front_bias != nullptr) x[static_cast<size_t>(j)] = m.front_bias[j];
        for (int64_t k = 0; k < m.front_taps; ++k) {
          const double token = tokens[tokens.size() - static_cast<size_t>(m.front_taps - k)];
          const int64_t row = m.classes ? k * m.classes + static_cast<int64_t>(token) : k;
          x[static_cast<size_t>(j)] += m.front[row * r + j] * (m.classes ? 1 : token);
        }
        double& sum = x[static_cast<size_t>(j)];
        if (m.front_activation == FW_RELU) sum = std::max(sum, 0.0);
        if (m.front_activation == FW_TANH) sum = std::tanh(sum);
        if (o.excited) sum += excitation_of(s.ids[static_cast<size_t>(stream)], p, j);
      }
      float* ring = memory;
      for (int64_t l = 0; l < m.layers; ++l) {
        const int64_t d = n.dilations[static_cast<size_t>(l)], slots = (m.taps - 1) * d;
        std::vector<double> z(static_cast<size_t>(g));
        const auto sum = [&](int64_t half, int64_t j) {
          double a = m.dilated_bias[l * 2 * g + half * g + j];
          if (o.hop) {
            const int64_t frame = frame_of(p, o.hop), column = (2 * l + half) * padded(g) + j;
            const int64_t id = s.ids[static_cast<size_t>(stream)];
            const double share = o.linear ? static_cast<double>(p - frame * o.hop) / static_cast<double>(o.hop) : 0;
            a = (1 - share) * condition_of(id, frame, column) + share * condition_of(id, frame + 1, column);
          }
          for (int64_t k = 0; k < m.taps; ++k) {
            const float* past = ring + ((p + slots + k * d) % slots) * wide;
            for (int64_t c = 0; c < r; ++c) {
              const double in = k + 1 == m.taps ? x[static_cast<size_t>(c)] : past[c];
              a += rounded(m.dilated[((l * m.taps + k) * r + c) * 2 * g + half * g + j]) * input(in);
            }
          }
          return a;
        };
        for (int64_t j = 0; j < g; ++j) {
          z[static_cast<size_t>(j)] = input(std::tanh(sum(0, j)) / (1 + std::exp(-sum(1, j))));
        }
        for (int64_t c = 0; c < r; ++c)
          ring[((p + slots) % slots) * wide + c] = static_cast<float>(x[static_cast<size_t>(c)]);
        for (int64_t j = 0; j < g; ++j) {
          for (int64_t c = 0; c < m.skip; ++c) {
            skip[static_cast<size_t>(c)] +=
                rounded(m.skip_weight[(l * g + j) * m.skip + c]) * z[static_cast<size_t>(j)];
          }
        }
        for (int64_t c = 0; c < r && l + 1 < m.layers; ++c) {
          x[static_cast<size_t>(c)] += m.residual_bias[l * r + c];
          for (int64_t j = 0; j < g; ++j) {
            x[static_cast<size_t>(c)] += rounded(m.residual_weight[(l * g + j) * r + c]) * z[static_cast<size_t>(j)];
          }
        }
        ring += slots * wide;
      }
      std::vector<double> hidden(m.head0_bias, m.head0_bias + m.head);
      for (int64_t j = 0; j < m.head; ++j) {
        for (int64_t c = 0; c < m.skip; ++c) {
          hidden[static_cast<size_t>(j)] +=
              rounded(m.head0[c * m.head + j]) * input(std::max(0.0, skip[static_cast<size_t>(c)]));
        }
      }
      for (int64_t j = 0; j < m.outputs; ++j) {
        double out = m.head1_bias[j];
        for (int64_t c = 0; c < m.head; ++c) {
          out += rounded(m.head1[c * m.outputs + j]) * input(std::max(0.0, hidden[static_cast<size_t>(c)]));
        }
        const float ours = drawn.outputs[static_cast<size_t>((stream * count + i) * m.outputs + j)];
        most = std::isfinite(ours) ? std::max(most, std::fabs(ours - out)) : HUGE_VAL;
        size = std::max(size, std::fabs(out));
      }
      const auto at = static_cast<size_t>(stream * count + i);
      tokens.push_back(m.classes ? static_cast<double>(drawn.classes[at]) : drawn.values[at]);
    }
  }
  return most / size;
}

}  // namespace
