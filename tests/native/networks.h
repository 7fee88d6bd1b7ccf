// Random networks, states and runs, for the programs that test an engine: engine.cpp here and in tests/cuda_on_cpu.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "fastwave.h"
#include "random.h"

namespace {

using fw_test::Random;

constexpr int64_t padded(int64_t channels) {
  return (channels + 15) / 16 * 16;
}

struct Network {
  fw_model_t model{};
  std::vector<int64_t> dilations;
  std::vector<std::vector<float>> weights;

  // Draws the weights; set the sizes of `model` and the dilations before. Weights are so small that sums stay near 1.
  void fill(Random& random) {
    const fw_model_t& m = model;
    const auto add = [&](int64_t count, int64_t inputs) {
      weights.push_back(random.values(count, 1.5f / std::sqrt(static_cast<float>(inputs))));
      return weights.back().data();
    };
    const int64_t r = m.residual, g = m.gate, l = m.layers;
    model.dilations = dilations.data();
    model.front = add(m.front_taps * std::max<int64_t>(m.classes, 1) * r, m.front_taps);
    model.front_bias = m.classes ? nullptr : add(r, 9);
    model.dilated = add(l * m.taps * r * 2 * g, m.taps * r);
    model.dilated_bias = add(l * 2 * g, 9);
    model.residual_weight = l > 1 ? add((l - 1) * g * r, g) : nullptr;
    model.residual_bias = l > 1 ? add((l - 1) * r, 9) : nullptr;
    model.skip_weight = add(l * g * m.skip, l * g);
    model.skip_bias = add(m.skip, 9);
    model.head0 = add(m.skip * m.head, m.skip);
    model.head0_bias = add(m.head, 9);
    model.head1 = add(m.head * m.outputs, m.head);
    model.head1_bias = add(m.outputs, 9);
  }
  int64_t memory_floats() const {
    int64_t slots = 0;
    for (int64_t d : dilations) slots += (model.taps - 1) * d;
    return slots * padded(model.residual);
  }
  int64_t condition_floats() const { return model.layers * 2 * padded(model.gate); }
};

struct State {
  std::vector<int64_t> times, ids, last_classes;
  std::vector<float> memory, last_values;
  bool operator==(const State& other) const {
    return times == other.times && last_classes == other.last_classes && memory == other.memory &&
           last_values == other.last_values;
  }
};

State random_state(const Network& n, int64_t streams, int64_t time, Random& random) {
  State s;
  for (int64_t stream = 0; stream < streams; ++stream) {
    s.times.push_back(time + stream);
    s.ids.push_back(random.within(0, UINT32_MAX));
    for (int64_t k = 0; k < n.model.front_taps; ++k) {
      if (n.model.classes) s.last_classes.push_back(random.within(0, n.model.classes - 1));
      if (!n.model.classes) s.last_values.push_back(random.value(1));
    }
  }
  s.memory = random.values(streams * n.memory_floats(), 1);
  for (size_t i = 0; i < s.memory.size(); ++i) {  // the padding of a row is zero
    if (static_cast<int64_t>(i) % padded(n.model.residual) >= n.model.residual) s.memory[i] = 0;
  }
  return s;
}

struct Options {
  float temperature = 1, top_p = 1;
  int32_t top_k = 0;
  int64_t hop = 0;  // 0: no conditioning
  bool linear = false, excited = false;
};

// What a run writes: tokens and outputs.
struct Samples {
  std::vector<int64_t> classes;
  std::vector<float> values, outputs;
  bool operator==(const Samples& o) const { return classes == o.classes && values == o.values && outputs == o.outputs; }
};

// Conditioning of a stream, a function of id, frame and channel: any stretch of frames can be made by itself.
float condition_of(int64_t id, int64_t frame, int64_t j) {
  return std::sin(static_cast<float>((frame % 1000 + 1000) * 37 + j * 11 + id % 97 * 5));
}

// Excitation of a stream, multiplied by its weight, a function of id, sample and channel.
float excitation_of(int64_t id, int64_t p, int64_t j) {
  return std::cos(static_cast<float>((p % 1000 + 1000) * 29 + j * 13 + id % 89 * 7));
}

int64_t frame_of(int64_t p, int64_t hop) {
  return p < 0 ? -1 : p / hop;
}

// A run of `count` samples and everything that it points to, so that a test may change any part of it. Tokens of
// `given` are taken instead of drawn.
struct Request {
  Samples samples;
  std::vector<float> projected, excitation;
  std::vector<int64_t> first_frame;
  fw_run_t job{};

  Request(const Network& n, State& s, int64_t count, const Options& o, const Samples* given = nullptr) {
    const auto streams = static_cast<int64_t>(s.times.size());
    const float nan = std::nanf("");
    job.streams = streams;
    job.samples = count;
    job.times = s.times.data();
    job.ids = s.ids.data();
    job.memory = s.memory.data();
    samples.classes.assign(n.model.classes ? static_cast<size_t>(streams * count) : 0, -1);
    samples.values.assign(n.model.classes ? 0 : static_cast<size_t>(streams * count), nan);
    samples.outputs.assign(static_cast<size_t>(streams * count * n.model.outputs), nan);
    if (n.model.classes) {
      job.last_classes = s.last_classes.data();
      job.drawn_classes = samples.classes.data();
      job.given_classes = given ? given->classes.data() : nullptr;
    } else {
      job.last_values = s.last_values.data();
      job.drawn_values = samples.values.data();
      job.given_values = given ? given->values.data() : nullptr;
    }
    job.outputs = samples.outputs.data();
    job.seed = 0x123456789ABCDEF;
    job.temperature = o.temperature;
    job.top_p = o.top_p;
    job.top_k = o.top_k;
    if (o.hop) condition(n, s, count, o);
    if (o.excited) excite(n, s, count);
  }
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

 private:
  void condition(const Network& n, const State& s, int64_t count, const Options& o) {
    for (int64_t time : s.times) {
      first_frame.push_back(frame_of(time - 1, o.hop));
      const int64_t last = frame_of(time + count - 2, o.hop) + (o.linear ? 1 : 0);
      job.frames = std::max(job.frames, last - first_frame.back() + 1);
    }
    const int64_t width = n.condition_floats(), gate = padded(n.model.gate);
    for (int64_t row = 0; row < job.streams * job.frames; ++row) {
      const auto stream = static_cast<size_t>(row / job.frames);
      const int64_t frame = row % job.frames + first_frame[stream];
      for (int64_t j = 0; j < width; ++j) {
        projected.push_back(j % gate < n.model.gate ? condition_of(s.ids[stream], frame, j) : 0);
      }
    }
    projected.shrink_to_fit();  // so that a sanitizer sees a read beyond the end
    job.projected = projected.data();
    job.first_frame = first_frame.data();
    job.hop = o.hop;
    job.linear = o.linear;
  }

  void excite(const Network& n, const State& s, int64_t count) {
    for (size_t stream = 0; stream < s.times.size(); ++stream) {
      for (int64_t i = 0; i < count * padded(n.model.residual); ++i) {
        const int64_t p = s.times[stream] - 1 + i / padded(n.model.residual), j = i % padded(n.model.residual);
        excitation.push_back(j < n.model.residual ? excitation_of(s.ids[stream], p, j) : 0);
      }
    }
    excitation.shrink_to_fit();
    job.excitation = excitation.data();
  }
};

}  // namespace
