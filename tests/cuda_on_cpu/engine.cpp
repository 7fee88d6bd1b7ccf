// The CUDA engine over random networks, on buffers of exactly the stated sizes and under many schedules: its outputs
// against sums in double, a run against its parts, every refusal. Built with the engine's sources and, by
// tests/test_cuda_on_cpu.py, with sanitizers and with planted faults. `engine general|cluster SEEDS NETWORKS`
#include <cuda_runtime.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "../native/check.h"
#include "fastwave.h"

namespace {

using on_cpu::Machine;

class Random : public on_cpu::Random {
 public:
  using on_cpu::Random::Random;
  int64_t within(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(below(static_cast<size_t>(high - low + 1)));
  }
  float value(float size) { return size * (static_cast<float>(below(1 << 23)) * 0x1p-22f - 1); }
  std::vector<float> values(int64_t count, float size) {
    std::vector<float> made(static_cast<size_t>(count));
    for (float& each : made) each = value(size);
    return made;
  }
};

int64_t padded(int64_t channels) {
  return (channels + 15) / 16 * 16;
}

float to_bfloat16(float value) {
  uint32_t bits = __float_as_uint(value);
  return __uint_as_float((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000);
}

struct Network {
  fw_model_t model{};
  std::vector<int64_t> dilations;
  std::vector<std::vector<float>> weights;

  Network(Random& random, int32_t output) {
    fw_model_t& m = model;
    m.residual = random.within(1, 20);
    m.gate = random.within(1, 20);
    m.skip = random.within(1, 40);
    m.head = random.within(1, 40);
    m.taps = random.within(2, 4);
    m.front_taps = random.within(1, 3);
    m.layers = random.within(1, 4);
    m.output = output;
    m.classes = output == FW_CATEGORICAL ? random.within(2, 50) : 0;
    m.outputs = output == FW_CATEGORICAL ? m.classes : output == FW_MIXTURE ? 3 * random.within(1, 6) : 2;
    for (int64_t l = 0; l < m.layers; ++l) dilations.push_back(random.within(1, 9));
    m.dilations = dilations.data();
    const auto add = [&](int64_t count, int64_t inputs) {  // weights keep every sum near 1
      weights.push_back(random.values(count, 1.5f / std::sqrt(static_cast<float>(inputs))));
      return weights.back().data();
    };
    m.front = add(m.front_taps * std::max<int64_t>(m.classes, 1) * m.residual, m.front_taps);
    m.dilated = add(m.layers * m.taps * m.residual * 2 * m.gate, m.taps * m.residual);
    m.dilated_bias = add(m.layers * 2 * m.gate, 9);
    m.residual_weight = m.layers > 1 ? add((m.layers - 1) * m.gate * m.residual, m.gate) : nullptr;
    m.residual_bias = m.layers > 1 ? add((m.layers - 1) * m.residual, 9) : nullptr;
    m.skip_weight = add(m.layers * m.gate * m.skip, m.layers * m.gate);
    m.skip_bias = add(m.skip, 9);
    m.head0 = add(m.skip * m.head, m.skip);
    m.head0_bias = add(m.head, 9);
    m.head1 = add(m.head * m.outputs, m.head);
    m.head1_bias = add(m.outputs, 9);
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
  bool operator==(const State& o) const {
    return times == o.times && last_classes == o.last_classes && memory == o.memory && last_values == o.last_values;
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

State row_of(const Network& n, const State& s, int64_t row) {
  const auto cut = [&](const auto& values, int64_t width) {
    return std::remove_const_t<std::remove_reference_t<decltype(values)>>(values.begin() + row * width,
                                                                          values.begin() + (row + 1) * width);
  };
  State one;
  one.times = cut(s.times, 1);
  one.ids = cut(s.ids, 1);
  if (n.model.classes) one.last_classes = cut(s.last_classes, n.model.front_taps);
  if (!n.model.classes) one.last_values = cut(s.last_values, n.model.front_taps);
  one.memory = cut(s.memory, n.memory_floats());
  return one;
}

struct Options {
  float temperature = 1, top_p = 1;
  int32_t top_k = 0;
  int64_t hop = 0;  // 0: no conditioning
  bool linear = false;
};

struct Heard {
  std::vector<int64_t> classes;
  std::vector<float> values, outputs;
  bool operator==(const Heard& o) const { return classes == o.classes && values == o.values && outputs == o.outputs; }
};

float condition_of(int64_t id, int64_t frame, int64_t j) {
  return std::sin(static_cast<float>((frame % 1000 + 1000) * 37 + j * 11 + id % 97 * 5));
}

int64_t frame_of(int64_t p, int64_t hop) {
  return p < 0 ? -1 : p / hop;
}

// A run and all that it points to, so that a test may spoil any part of it.
struct Request {
  Heard heard;
  std::vector<float> projected, noise;
  std::vector<int64_t> first_frame;
  std::vector<double> workspace;
  fw_run_t job{};

  Request(const fw_cuda_engine_t* engine, const Network& n, State& s, int64_t count, const Options& o,
          const Heard* given = nullptr) {
    const auto streams = static_cast<int64_t>(s.times.size());
    const float nan = std::nanf("");
    job.streams = streams;
    job.samples = count;
    job.times = s.times.data();
    job.ids = s.ids.data();
    job.memory = s.memory.data();
    heard.classes.assign(n.model.classes ? static_cast<size_t>(streams * count) : 0, -1);
    heard.values.assign(n.model.classes ? 0 : static_cast<size_t>(streams * count), nan);
    heard.outputs.assign(static_cast<size_t>(streams * count * n.model.outputs), nan);
    if (n.model.classes) {
      job.last_classes = s.last_classes.data();
      job.drawn_classes = heard.classes.data();
      job.given_classes = given ? given->classes.data() : nullptr;
    } else {
      job.last_values = s.last_values.data();
      job.drawn_values = heard.values.data();
      job.given_values = given ? given->values.data() : nullptr;
    }
    job.outputs = heard.outputs.data();
    job.seed = 0x123456789ABCDEF;
    job.temperature = o.temperature;
    job.top_p = o.top_p;
    job.top_k = o.top_k;
    if (o.hop) {
      for (int64_t time : s.times) {
        first_frame.push_back(frame_of(time - 1, o.hop));
        const int64_t last = frame_of(time + count - 2, o.hop) + (o.linear ? 1 : 0);
        job.frames = std::max(job.frames, last - first_frame.back() + 1);
      }
      const int64_t width = n.condition_floats(), gate = padded(n.model.gate);
      for (int64_t row = 0; row < streams * job.frames; ++row) {
        const auto stream = static_cast<size_t>(row / job.frames);
        for (int64_t j = 0; j < width; ++j) {
          const int64_t frame = row % job.frames + first_frame[stream];
          projected.push_back(j % gate < n.model.gate ? condition_of(s.ids[stream], frame, j) : 0);
        }
      }
      job.projected = projected.data();
      job.first_frame = first_frame.data();
      job.hop = o.hop;
      job.linear = o.linear;
    }
    fw_plan_t plan;
    CHECK(fw_engine_plan_cuda(engine, streams, &plan) == FW_OK);
    workspace.resize(static_cast<size_t>(plan.workspace_bytes) / sizeof(double));
  }

  int32_t run(const fw_cuda_engine_t* engine) { return fw_engine_run_cuda(engine, &job, workspace.data(), nullptr); }
};

std::string last_error() {
  char text[512] = "";
  fw_last_error(text, sizeof text, nullptr);
  return text;
}

Heard run(const fw_cuda_engine_t* engine, const Network& n, State& s, int64_t count, const Options& o,
          const Heard* given = nullptr) {
  Request request(engine, n, s, count, o, given);
  const int32_t status = request.run(engine);
  CHECK(status == FW_OK);
  if (status != FW_OK) fprintf(stderr, "%s | %s\n", last_error().c_str(), on_cpu::fault().c_str());
  return request.heard;
}

fw_cuda_engine_t* make(const Network& n, int32_t type, int32_t kernel = FW_KERNEL_GENERAL) {
  fw_cuda_engine_t* engine = nullptr;
  CHECK(fw_engine_create_cuda(&n.model, 0, type, kernel, &engine) == FW_OK && engine != nullptr);
  return engine;
}

// The largest distance of what was heard from sums in double, after the same tokens, relative to the largest output.
// On a cluster inputs of products are bfloat16, but for those of folded ones at the same places.
double distance_from_exact(const Network& n, State s, const Heard& heard, const Options& o, int32_t type,
                           bool on_cluster = false) {
  const fw_model_t& m = n.model;
  const auto input = [&](double value) {
    return on_cluster ? static_cast<double>(to_bfloat16(static_cast<float>(value))) : value;
  };
  const auto rounded = [&](float w) { return static_cast<double>(type == FW_BFLOAT16 ? to_bfloat16(w) : w); };
  const auto streams = static_cast<int64_t>(s.times.size()), r = m.residual, g = m.gate, wide = padded(r);
  const int64_t count = static_cast<int64_t>(heard.outputs.size()) / streams / m.outputs;
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
        for (int64_t k = 0; k < m.front_taps; ++k) {
          const double token = tokens[tokens.size() - static_cast<size_t>(m.front_taps - k)];
          const int64_t row = m.classes ? k * m.classes + static_cast<int64_t>(token) : k;
          x[static_cast<size_t>(j)] += m.front[row * r + j] * (m.classes ? 1 : token);
        }
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
        const float ours = heard.outputs[static_cast<size_t>((stream * count + i) * m.outputs + j)];
        most = std::isfinite(ours) ? std::max(most, std::fabs(ours - out)) : HUGE_VAL;
        size = std::max(size, std::fabs(out));
      }
      const auto at = static_cast<size_t>(stream * count + i);
      tokens.push_back(m.classes ? static_cast<double>(heard.classes[at]) : heard.values[at]);
    }
  }
  return most / size;
}

constexpr int64_t kCalls[] = {3, 0, 1, 6};
constexpr int64_t kSamples = 10;
constexpr double kClusterDistance = 0.02;  // a sum near the middle between two bfloat16 may be rounded to either

Options random_options(Random& random) {
  Options options;
  if (random.within(0, 1)) options.temperature = random.within(0, 2) ? 0.5f : 0;
  if (random.within(0, 1)) options.top_k = static_cast<int32_t>(random.within(1, 12));
  if (random.within(0, 1)) options.top_p = 0.8f;
  if (random.within(0, 2)) options.hop = random.within(3, 7);  // 2^63 / 3 is a frame that may be asked for
  options.linear = random.within(0, 1) != 0;
  return options;
}

State random_start(const Network& n, Random& random) {
  const int64_t times[] = {0, 1, random.within(0, 1000), (int64_t{1} << 62) - 11, INT64_MAX - 100};
  return random_state(n, random.within(1, 11), times[random.within(0, 4)], random);
}

// A run is the same in parts, when its tokens are given, and for a stream alone.
Heard check_run(const fw_cuda_engine_t* engine, const Network& n, const State& start, const Options& options,
                Random& random) {
  State whole = start;
  const Heard heard = run(engine, n, whole, kSamples, options);
  for (int64_t token : heard.classes) CHECK(0 <= token && token < n.model.classes);
  for (float value : heard.values) CHECK(-1 <= value && value <= 1);

  State fed = start;
  CHECK(run(engine, n, fed, kSamples, options, &heard) == heard && fed == whole);
  State split = start;
  for (int64_t count : kCalls) run(engine, n, split, count, options);
  CHECK(split == whole);
  const int64_t row = random.within(0, static_cast<int64_t>(start.times.size()) - 1);
  State alone = row_of(n, start, row);
  run(engine, n, alone, kSamples, options);
  CHECK(alone == row_of(n, whole, row));
  return heard;
}

void check_general(const Network& n, int32_t type, Random& random) {
  Machine& machine = Machine::here();
  machine.multiprocessors = static_cast<int>(random.within(1, 4));   // 1 to 8 streams a block, one block or several
  machine.shared_limit = random.within(0, 3) ? 227 << 10 : 1 << 10;  // 1 KB: the scratch is in the workspace
  const Options options = random_options(random);
  const State start = random_start(n, random);
  fw_cuda_engine_t* const engine = make(n, type);
  const Heard heard = check_run(engine, n, start, options, random);
  CHECK(distance_from_exact(n, start, heard, options, type) < 1e-4);
  CHECK(fw_engine_destroy_cuda(engine) == FW_OK);
}

// The smallest shared memory that a cluster can do with, so that the network is on as many blocks as can be.
int smallest_limit(const Network& n, int32_t kernel) {
  for (int limit = 1 << 10;; limit += 1 << 10) {
    Machine::here().shared_limit = limit;
    fw_cuda_engine_t* engine = nullptr;
    if (fw_engine_create_cuda(&n.model, 0, FW_BFLOAT16, kernel, &engine) != FW_OK && limit < 227 << 10) continue;
    CHECK(engine != nullptr && fw_engine_destroy_cuda(engine) == FW_OK);
    return limit;
  }
}

void check_cluster(const Network& n, int32_t kernel, Random& random) {
  Machine& machine = Machine::here();
  const Options options = random_options(random);
  const State start = random_start(n, random);
  machine.shared_limit = smallest_limit(n, kernel);
  fw_cuda_engine_t* engine = make(n, FW_BFLOAT16, kernel);
  const Heard heard = check_run(engine, n, start, options, random);
  CHECK(distance_from_exact(n, start, heard, options, FW_BFLOAT16, true) < kClusterDistance);
  CHECK(fw_engine_destroy_cuda(engine) == FW_OK);

  machine.shared_limit = 227 << 10;  // on few blocks, all weights kept
  engine = make(n, FW_BFLOAT16, kernel);
  State state = start;
  CHECK(run(engine, n, state, kSamples, options) == heard);
  CHECK(fw_engine_destroy_cuda(engine) == FW_OK);
}

// Where x is the same in all layers a folded product adds nothing, and folded and unfolded agree to the bit.
void check_folding(Network& n, Random& random) {
  Machine::here() = Machine{};
  if (n.model.layers > 1) {
    std::fill_n(const_cast<float*>(n.model.residual_weight), (n.model.layers - 1) * n.model.gate * n.model.residual, 0);
    std::fill_n(const_cast<float*>(n.model.residual_bias), (n.model.layers - 1) * n.model.residual, 0);
  }
  const Options options = random_options(random);
  const State start = random_start(n, random);
  Heard heard[2];
  for (int folded = 0; folded < 2; ++folded) {
    const int32_t kernel = folded ? FW_KERNEL_CLUSTER : FW_KERNEL_CLUSTER_UNFOLDED;
    Machine::here().shared_limit = smallest_limit(n, kernel);
    fw_cuda_engine_t* const engine = make(n, FW_BFLOAT16, kernel);
    State state = start;
    heard[folded] = run(engine, n, state, kSamples, options);
    CHECK(fw_engine_destroy_cuda(engine) == FW_OK);
  }
  CHECK(heard[0] == heard[1]);
}

// Null pointers, odd types and sizes, devices that are not there: no engine is made.
void check_creation() {
  Random random(5);
  const Network n(random, FW_GAUSSIAN);
  const auto made = [](const fw_model_t* model, int32_t device, int32_t type) {
    fw_cuda_engine_t* engine = nullptr;
    const int32_t status = fw_engine_create_cuda(model, device, type, FW_KERNEL_GENERAL, &engine);
    CHECK((status == FW_OK) == (engine != nullptr));
    CHECK(fw_engine_destroy_cuda(engine) == FW_OK);
    return status;
  };
  CHECK(made(&n.model, 1, FW_BFLOAT16) == FW_OK);
  CHECK(made(nullptr, 0, FW_FLOAT32) == FW_INVALID_ARGUMENT);
  CHECK(fw_engine_create_cuda(&n.model, 0, FW_FLOAT32, FW_KERNEL_GENERAL, nullptr) == FW_INVALID_ARGUMENT);
  for (int32_t odd : {-1, 2, INT32_MAX}) {
    CHECK(made(&n.model, odd, FW_FLOAT32) == FW_INVALID_ARGUMENT);
    CHECK(made(&n.model, 0, odd) == FW_INVALID_ARGUMENT);
  }
  fw_model_t wide = n.model;  // more inputs than a thread's index may have; the weights are not looked at
  wide.taps = 1024;
  wide.residual = 196608;
  CHECK(made(&wide, 0, FW_FLOAT32) == FW_UNSUPPORTED && last_error().find("channels") != std::string::npos);
  wide.taps = 1;
  CHECK(made(&wide, 0, FW_FLOAT32) == FW_INVALID_ARGUMENT);
}

// Whatever only the device can see is refused there, and in the same block nothing has moved.
void check_refusals(int32_t kernel) {
  Machine::here() = Machine{};
  Machine::here().multiprocessors = 1;
  Random random(9);
  const Network n(random, FW_CATEGORICAL);
  fw_cuda_engine_t* const engine = make(n, FW_BFLOAT16, kernel);
  Options options;
  options.hop = 3;
  const State start = random_state(n, 5, 100, random);
  Heard given;
  given.classes.assign(5 * 4, 0);
  const auto refused = [&](const char* why, const auto& spoil) {
    State s = start;
    Request request(engine, n, s, 4, options, &given);
    spoil(s, request);
    const State spoilt = s;
    CHECK(request.run(engine) == FW_INVALID_ARGUMENT);
    CHECK(last_error().find(why) != std::string::npos && s == spoilt);
    CHECK(std::isnan(request.heard.outputs[0]));
  };
  const int64_t least = std::numeric_limits<int64_t>::min(), most = std::numeric_limits<int64_t>::max();
  for (int64_t odd : {int64_t{-1}, least, most, most - 3}) {
    refused("time", [&](State& s, Request&) { s.times[4] = odd; });
  }
  for (int64_t odd : {int64_t{-1}, least, most, int64_t{1} << 32}) {
    refused("in row 3", [&](State& s, Request&) { s.ids[3] = odd; });
  }
  for (int64_t odd : {int64_t{-1}, least, most, n.model.classes}) {
    refused("last class", [&](State& s, Request&) { s.last_classes.back() = odd; });
    refused("given class", [&](State&, Request&) { given.classes.back() = odd; });
    given.classes.back() = 0;
  }
  for (int64_t odd : {least, most}) {
    refused("first frame", [&](State&, Request& r) { r.first_frame[2] = odd; });
  }
  for (int64_t odd : {int64_t{-2}, int64_t{1}}) {
    refused("does not cover", [&](State&, Request& r) { r.first_frame[4] += odd; });
  }
  CHECK(fw_engine_destroy_cuda(engine) == FW_OK);
}

// An output that is not finite is named with its stream and time.
void check_not_finite(int32_t kernel) {
  Machine::here().multiprocessors = 3;
  Random random(7);
  Network n(random, FW_CATEGORICAL);
  for (int64_t j = 0; j < n.model.residual; ++j) n.weights[0][static_cast<size_t>(j)] = std::nanf("");  // class 0
  n.model.front_taps = 1;
  fw_cuda_engine_t* const engine = make(n, FW_BFLOAT16, kernel);
  State s = random_state(n, 9, 100, random);
  s.times.assign(9, 100);
  s.last_classes.assign(9, 1);
  Heard given;
  given.classes.assign(9 * 4, 1);
  given.classes[7 * 4 + 2] = given.classes[8 * 4 + 2] = given.classes[8 * 4 + 1] = 0;
  Request request(engine, n, s, 4, {}, &given);
  CHECK(request.run(engine) == FW_NOT_FINITE);
  CHECK(request.job.failed_stream == 8 && request.job.failed_time == 102);
  CHECK(last_error().find("sample 102 of stream " + std::to_string(s.ids[8])) != std::string::npos);
  CHECK(fw_engine_destroy_cuda(engine) == FW_OK);
}

}  // namespace

#if defined(FW_FAULTS)
int fault = -1;  // which of the faults that the test has written into the sources is planted
#endif

int main(int argc, char** argv) {
  const bool on_cluster = argc > 1 && !strcmp(argv[1], "cluster");
  const int seeds = argc > 2 ? atoi(argv[2]) : 8, networks = argc > 3 ? atoi(argv[3]) : 6;
#if defined(FW_FAULTS)
  fault = argc > 4 ? atoi(argv[4]) : -1;
#endif
  check_creation();
  check_refusals(on_cluster ? FW_KERNEL_CLUSTER : FW_KERNEL_GENERAL);
  check_not_finite(on_cluster ? FW_KERNEL_CLUSTER : FW_KERNEL_GENERAL);
  for (int seed = 0; seed < seeds && failures == 0; ++seed) {
    on_cpu::set_seed(static_cast<uint64_t>(seed));
    Random random(static_cast<uint64_t>(seed) % 2 + 1);  // each network under several schedules
    for (int i = 0; i < networks && failures == 0; ++i) {
      Network n(random, i % 3);
      if (!on_cluster) check_general(n, i / 3 % 2 ? FW_BFLOAT16 : FW_FLOAT32, random);
      if (on_cluster) check_cluster(n, i % 2 ? FW_KERNEL_CLUSTER : FW_KERNEL_CLUSTER_UNFOLDED, random);
      if (on_cluster) check_folding(n, random);
    }
  }
  CHECK(Machine::here().allocations == 0);
  printf("engine: %d checks, %d failed\n", checks.load(), failures.load());
  return failures == 0 ? 0 : 1;
}
