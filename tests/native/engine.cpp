// The native engine over random small networks: every type, every usable instruction set, streams, threads, splits,
// conditioning and given tokens, on buffers of exactly the stated sizes. Run under sanitizers by
// tests/test_sanitizers.py. `engine allocations` counts what the sample loop allocates.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "fastwave.h"
#include "sweep.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif

#if defined(__GLIBC__) && !defined(SANITIZED)  // a sanitizer has these functions to itself
#define COUNTED

namespace {
std::atomic<int64_t> allocations{0};
}

// The library's own calls, operator new among them, end here: a program's functions go before libc's.
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

void* malloc(size_t bytes) {
  ++allocations;
  return __libc_malloc(bytes);
}
void* calloc(size_t count, size_t bytes) {
  ++allocations;
  return __libc_calloc(count, bytes);
}
void* realloc(void* old, size_t bytes) {
  ++allocations;
  return __libc_realloc(old, bytes);
}
void* memalign(size_t alignment, size_t bytes) {
  ++allocations;
  return __libc_memalign(alignment, bytes);
}
void* aligned_alloc(size_t alignment, size_t bytes) {
  return memalign(alignment, bytes);
}
int posix_memalign(void** made, size_t alignment, size_t bytes) {
  *made = memalign(alignment, bytes);
  return *made == nullptr ? 12 : 0;
}
}
#endif

namespace {

constexpr int64_t padded(int64_t channels) {
  return (channels + 15) / 16 * 16;
}

struct Network {
  fw_model_t model{};
  std::vector<int64_t> dilations;
  std::vector<std::vector<float>> weights;

  // Sets the sizes of `model` beforehand; weights keep every sum near 1.
  void fill(Random& random) {
    const fw_model_t& m = model;
    const auto add = [&](int64_t count, int64_t inputs) {
      weights.push_back(random.values(count, 1.5f / std::sqrt(static_cast<float>(inputs))));
      return weights.back().data();
    };
    const int64_t r = m.residual, g = m.gate, l = m.layers;
    model.dilations = dilations.data();
    model.front = add(m.front_taps * std::max<int64_t>(m.classes, 1) * r, m.front_taps);
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

Network random_network(Random& random, bool small) {
  Network n;
  fw_model_t& m = n.model;
  const int64_t most = small ? 20 : 150;  // 150: more than one panel of weights
  m.residual = random.within(1, most);
  m.gate = random.within(1, most);
  m.skip = random.within(1, most);
  m.head = random.within(1, most);
  m.taps = random.within(2, 4);
  m.front_taps = random.within(1, 3);
  m.layers = random.within(1, 4);
  m.output = static_cast<int32_t>(random.within(FW_CATEGORICAL, FW_GAUSSIAN));
  m.classes = m.output == FW_CATEGORICAL ? random.within(1, 2 * most) : 0;
  m.outputs = m.output == FW_CATEGORICAL ? m.classes : m.output == FW_MIXTURE ? 3 * random.within(1, 6) : 2;
  for (int64_t l = 0; l < m.layers; ++l) n.dilations.push_back(random.within(1, 9));
  n.fill(random);
  return n;
}

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
  bool linear = false;
};

struct Heard {
  std::vector<int64_t> classes;
  std::vector<float> values, outputs;
};

// Conditioning of one stream as a function of its frame, so that any stretch of it can be made alone.
float condition_of(int64_t stream, int64_t frame, int64_t j) {
  return std::sin(static_cast<float>((frame % 1000 + 1000) * 37 + j * 11 + stream * 5));
}

// `count` samples; tokens of `given` are taken where there are some, from sample `first` of its `stride` a stream.
Heard run(fw_engine_t* engine, const Network& n, State& s, int64_t count, const Options& o,
          const Heard* given = nullptr) {
  const int64_t streams = static_cast<int64_t>(s.times.size());
  const float nan = std::nanf("");
  Heard heard;
  fw_run_t job{};
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
  std::vector<float> projected;
  std::vector<int64_t> first_frame;
  if (o.hop) {
    const auto frame_of = [&](int64_t p) { return p < 0 ? -1 : p / o.hop; };
    for (int64_t time : s.times) {
      const int64_t first = frame_of(time - 1);
      first_frame.push_back(first);
      job.frames = std::max(job.frames, frame_of(time + count - 2) + (o.linear ? 1 : 0) - first + 1);
    }
    const int64_t width = n.condition_floats(), gate = padded(n.model.gate);
    projected.resize(static_cast<size_t>(streams * job.frames * width));
    for (size_t i = 0; i < projected.size(); ++i) {
      const int64_t j = static_cast<int64_t>(i) % width, row = static_cast<int64_t>(i) / width;
      const int64_t stream = row / job.frames;
      const int64_t frame = row % job.frames + first_frame[static_cast<size_t>(stream)];
      projected[i] = j % gate < n.model.gate ? condition_of(s.ids[static_cast<size_t>(stream)] % 97, frame, j) : 0;
    }
    job.projected = projected.data();
    job.first_frame = first_frame.data();
    job.hop = o.hop;
    job.linear = o.linear;
  }
  CHECK(fw_engine_run_cpu(engine, &job) == FW_OK);
  for (float out : heard.outputs) CHECK(std::isfinite(out));
  for (int64_t token : heard.classes) CHECK(0 <= token && token < n.model.classes);
  for (float value : heard.values) CHECK(-1 <= value && value <= 1);
  return heard;
}

fw_engine_t* make(const Network& n, int32_t isa, int32_t type, int32_t threads) {
  fw_engine_t* engine = nullptr;
  CHECK(fw_engine_create_cpu(&n.model, isa, type, threads, &engine) == FW_OK && engine != nullptr);
  return engine;
}

// Part `first .. first+count-1` of what was heard, a stream a row.
Heard part(const Heard& whole, int64_t streams, int64_t first, int64_t count) {
  const auto cut = [&](const auto& rows) {
    std::remove_const_t<std::remove_reference_t<decltype(rows)>> kept;
    const int64_t width = static_cast<int64_t>(rows.size()) / streams;
    if (width == 0) return kept;
    for (int64_t s = 0; s < streams; ++s) {
      const auto row = rows.begin() + s * width;
      const int64_t samples = static_cast<int64_t>(std::max(whole.classes.size(), whole.values.size())) / streams;
      const int64_t each = width / samples;
      kept.insert(kept.end(), row + first * each, row + (first + count) * each);
    }
    return kept;
  };
  return {cut(whole.classes), cut(whole.values), cut(whole.outputs)};
}

bool same(const Heard& a, const Heard& b) {
  return a.classes == b.classes && a.values == b.values && a.outputs == b.outputs;
}

// Runs in so many calls use every schedule that an engine has for them: it tries each one twice.
constexpr int64_t kCalls[] = {4, 4, 0, 4, 1, 4, 4, 3};
constexpr int64_t kSamples = 24;

void check_network(const Network& n, Random& random) {
  const int64_t streams = random.within(1, 5);
  const int64_t times[] = {0, 1, random.within(0, 1000), (int64_t{1} << 62) - 11, INT64_MAX - 100};
  const int64_t time = times[random.within(0, 4)];
  Options options;
  if (random.within(0, 1)) options.temperature = 0.5f;
  if (random.within(0, 1)) options.top_k = static_cast<int32_t>(random.within(1, 12));
  if (random.within(0, 1)) options.top_p = 0.8f;
  if (random.within(0, 2)) options.hop = random.within(1, 7);
  options.linear = random.within(0, 1) != 0;
  const State start = random_state(n, streams, time, random);
  for (int32_t type : {FW_FLOAT32, FW_BFLOAT16, FW_INT8}) {
    Heard first;
    for (int32_t isa = FW_ISA_PORTABLE, usable = usable_isas(); isa <= FW_ISA_AMX; ++isa) {
      if (!(usable >> isa & 1)) continue;
      fw_engine_t* const one = make(n, isa, type, 1);
      State whole = start;
      const Heard heard = run(one, n, whole, kSamples, options);
      for (int32_t threads = 2; threads <= 3; ++threads) {
        fw_engine_t* const several = make(n, isa, type, threads);
        State split = start;
        int64_t done = 0;
        for (int64_t count : kCalls) {
          CHECK(same(run(several, n, split, count, options), part(heard, streams, done, count)));
          done += count;
        }
        CHECK(done == kSamples && split == whole);
        CHECK(fw_engine_destroy_cpu(several) == FW_OK);
      }
      State fed = start;
      CHECK(same(run(one, n, fed, kSamples, options, &heard), heard));
      CHECK(fed == whole);
      if (isa == FW_ISA_PORTABLE) first = heard;
      State again = start;  // the same tokens, so the same outputs but for rounding
      CHECK(distance(run(one, n, again, kSamples, options, &first).outputs, first.outputs) < 1e-3);
      CHECK(fw_engine_destroy_cpu(one) == FW_OK);
    }
  }
}

void sweep(uint64_t seed, int networks, bool small) {
  Random random(seed);
  for (int i = 0; i < networks; ++i) check_network(random_network(random, small), random);
}

// A class whose embedding is NaN: the outputs after it are, and the place is named.
void check_not_finite() {
  Random random(7);
  Network n;
  n.model.residual = n.model.gate = n.model.skip = n.model.head = 5;
  n.model.taps = 2;
  n.model.front_taps = 1;
  n.model.layers = 1;
  n.model.classes = n.model.outputs = 4;
  n.dilations = {2};
  n.fill(random);
  n.weights[0][3 * 5] = std::nanf("");
  const std::vector<int64_t> good(12, 0), bad = {0, 1, 2, 0, 0, 1, 3, 0, 2, 2, 2, 2};
  for (int32_t type : {FW_FLOAT32, FW_BFLOAT16, FW_INT8}) {
    fw_engine_t* const engine = make(n, FW_ISA_PORTABLE, type, 3);
    for (int call = 0; call < 12; ++call) {  // so often that every schedule of the engine meets the bad class
      State s = random_state(n, 3, 100, random);
      s.times = {100, 100, 100};
      s.last_classes = {0, 1, 2};
      fw_run_t job{};
      job.streams = 3;
      job.samples = 4;
      job.times = s.times.data();
      job.ids = s.ids.data();
      job.memory = s.memory.data();
      job.last_classes = s.last_classes.data();
      job.given_classes = call % 2 ? bad.data() : good.data();
      job.temperature = job.top_p = 1;
      job.failed_stream = job.failed_time = -1;
      CHECK(fw_engine_run_cpu(engine, &job) == (call % 2 ? FW_NOT_FINITE : FW_OK));
      CHECK(job.failed_stream == (call % 2 ? 1 : -1) && job.failed_time == (call % 2 ? 103 : -1));
    }
    CHECK(fw_engine_destroy_cpu(engine) == FW_OK);
  }
}

// Two threads on one engine's weights would be a misuse; two engines at once are not.
void check_engines_side_by_side() {
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back([i] { sweep(100 + static_cast<uint64_t>(i), 3, true); });
  for (std::thread& thread : threads) thread.join();
}

#if defined(COUNTED)

int64_t allocations_of(fw_engine_t* engine, fw_run_t job) {
  const int64_t before = allocations;
  CHECK(fw_engine_run_cpu(engine, &job) == FW_OK);
  return allocations - before;
}

// Prints what a short and a long run allocate; the figures must be the same.
void count_allocations() {
  constexpr int64_t kShort = 10, kLong = 5000, kStreams = 16, kHop = 50, kFrames = kLong / kHop + 3;
  for (int32_t output : {FW_CATEGORICAL, FW_MIXTURE}) {
    Random random(3);
    Network n;
    n.model.residual = n.model.gate = 12;
    n.model.skip = n.model.head = 20;
    n.model.taps = n.model.front_taps = 2;
    n.model.layers = 3;
    n.model.output = output;
    n.model.classes = output == FW_CATEGORICAL ? 64 : 0;
    n.model.outputs = output == FW_CATEGORICAL ? 64 : 9;
    n.dilations = {1, 2, 4};
    n.fill(random);
    const std::vector<float> projected =
        random.values(kStreams * kFrames * n.condition_floats(), 1);  // the padding is not looked at
    const std::vector<int64_t> first_frame(static_cast<size_t>(kStreams), -1);
    std::vector<int64_t> classes(static_cast<size_t>(kStreams * kLong));
    std::vector<float> values(static_cast<size_t>(kStreams * kLong));
    for (int32_t type : {FW_FLOAT32, FW_BFLOAT16, FW_INT8}) {
      for (int32_t threads : {1, 2}) {
        for (int64_t streams : {int64_t{1}, kStreams}) {
          const int64_t before = allocations;
          fw_engine_t* const engine = make(n, FW_ISA_PORTABLE, type, threads);
          CHECK(allocations > before);  // or nothing is counted at all
          State s = random_state(n, streams, 0, random);
          s.times.assign(s.times.size(), 0);
          fw_run_t job{};
          job.streams = streams;
          job.times = s.times.data();
          job.ids = s.ids.data();
          job.memory = s.memory.data();
          job.last_classes = n.model.classes ? s.last_classes.data() : nullptr;
          job.last_values = n.model.classes ? nullptr : s.last_values.data();
          job.drawn_classes = n.model.classes ? classes.data() : nullptr;
          job.drawn_values = n.model.classes ? nullptr : values.data();
          job.projected = projected.data();
          job.first_frame = first_frame.data();
          job.frames = kFrames;
          job.hop = kHop;
          job.linear = 1;
          job.temperature = 0.9f;
          job.top_p = n.model.classes ? 0.95f : 1;
          job.top_k = n.model.classes ? 40 : 0;
          job.samples = kShort;
          allocations_of(engine, job);  // makes room for the streams
          s.times.assign(s.times.size(), 0);
          const int64_t few = allocations_of(engine, job);
          s.times.assign(s.times.size(), 0);
          job.samples = kLong;
          const int64_t many = allocations_of(engine, job);
          CHECK(few == many);
          std::printf("output %d type %d threads %d streams %2d: %d samples %d allocations, %d samples %d\n", output,
                      type, threads, static_cast<int>(streams), static_cast<int>(kShort), static_cast<int>(few),
                      static_cast<int>(kLong), static_cast<int>(many));
          CHECK(fw_engine_destroy_cpu(engine) == FW_OK);
        }
      }
    }
  }
}

#else

void count_allocations() {
  ++failures;
  std::printf("allocations: not counted, this build's memory functions belong to a sanitizer or another C library\n");
}

#endif

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "allocations") {
    count_allocations();
  } else {
    sweep(1, 25, true);
    sweep(2, 3, false);
    check_not_finite();
    check_engines_side_by_side();
  }
  std::printf("engine: %d checks, %d failed\n", checks.load(), failures.load());
  return failures == 0 ? 0 : 1;
}
