// The native engine over random small networks: every type, every usable instruction set, streams, threads, splits,
// conditioning and given tokens, on buffers of exactly the stated sizes. Run under sanitizers by
// test_sanitizers.py. `engine allocations` counts what the sample loop allocates.
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
#include "networks.h"
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
  m.front_activation = static_cast<int32_t>(random.within(FW_NONE, FW_TANH));
  m.classes = m.output == FW_CATEGORICAL ? random.within(1, 2 * most) : 0;
  m.outputs = m.output == FW_CATEGORICAL ? m.classes : m.output == FW_MIXTURE ? 3 * random.within(1, 6) : 2;
  for (int64_t l = 0; l < m.layers; ++l) n.dilations.push_back(random.within(1, 12));
  n.fill(random);
  return n;
}

// `count` samples of all streams; tokens of `given` are taken where there are some.
Samples run(fw_engine_t* engine, const Network& n, State& s, int64_t count, const Options& o,
            const Samples* given = nullptr) {
  Request request(n, s, count, o, given);
  CHECK(fw_engine_run_cpu(engine, &request.job) == FW_OK);
  for (float out : request.samples.outputs) CHECK(std::isfinite(out));
  for (int64_t token : request.samples.classes) CHECK(0 <= token && token < n.model.classes);
  for (float value : request.samples.values) CHECK(-1 <= value && value <= 1);
  return request.samples;
}

fw_engine_t* make(const Network& n, int32_t isa, int32_t type, int32_t threads) {
  fw_engine_t* engine = nullptr;
  CHECK(fw_engine_create_cpu(&n.model, isa, type, threads, &engine) == FW_OK && engine != nullptr);
  return engine;
}

// Samples first .. first+count-1 of every stream.
Samples part(const Samples& whole, int64_t streams, int64_t first, int64_t count) {
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

// Whether an instruction set rounds the sum of a product and a number once. Those that do compute the same bits.
bool rounds_once(int32_t isa) {
#if defined(__x86_64__)
  return isa != FW_ISA_PORTABLE;
#else
  (void)isa;
  return true;
#endif
}

// This many calls use every schedule that an engine has: it tries each one twice.
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
  // A first frame lies within 2^62, as boundary.cpp checks; with a frame a sample the far times would be beyond it.
  if (random.within(0, 2)) options.hop = random.within(time >= times[3] ? 2 : 1, 7);
  options.linear = random.within(0, 1) != 0;
  options.excited = random.within(0, 1) != 0;
  const State start = random_state(n, streams, time, random);
  for (int32_t type : {FW_FLOAT32, FW_BFLOAT16, FW_INT8}) {
    Samples first;
    std::vector<float> fused;  // outputs of the first instruction set that rounds once
    for (int32_t isa = FW_ISA_PORTABLE, usable = usable_isas(); isa <= FW_ISA_NEON_DOTPROD; ++isa) {
      if (!(usable >> isa & 1)) continue;
      fw_engine_t* const one = make(n, isa, type, 1);
      State whole = start;
      const Samples drawn = run(one, n, whole, kSamples, options);
      for (int32_t threads = 2; threads <= 3; ++threads) {
        fw_engine_t* const several = make(n, isa, type, threads);
        State split = start;
        int64_t done = 0;
        for (int64_t count : kCalls) {
          CHECK(run(several, n, split, count, options) == part(drawn, streams, done, count));
          done += count;
        }
        CHECK(done == kSamples && split == whole);
        CHECK(fw_engine_destroy_cpu(several) == FW_OK);
      }
      State fed = start;
      CHECK(run(one, n, fed, kSamples, options, &drawn) == drawn);
      CHECK(fed == whole);
      if (isa == FW_ISA_PORTABLE) first = drawn;
      State again = start;  // the same tokens, so the same outputs but for rounding
      const std::vector<float> outputs = run(one, n, again, kSamples, options, &first).outputs;
      CHECK(distance(outputs, first.outputs) < 1e-3);
      if (rounds_once(isa)) {
        if (fused.empty()) fused = outputs;
        CHECK(same_bits(outputs, fused));
      }
      CHECK(fw_engine_destroy_cpu(one) == FW_OK);
    }
  }
}

void sweep(uint64_t seed, int networks, bool small) {
  Random random(seed);
  for (int i = 0; i < networks; ++i) check_network(random_network(random, small), random);
}

// Sums of int8 are exact. The first layer of the head gets whole numbers, the largest of which 16 bits just hold, and
// has whole weights up to 127; the second lets its outputs through. So the outputs are whole numbers that are known.
void check_int8_sums(int64_t inputs, int64_t sums) {
  Random random(9);
  Network n;
  fw_model_t& m = n.model;
  m.residual = m.gate = 3;
  m.skip = inputs;
  m.head = m.outputs = m.classes = sums;
  m.taps = 2;
  m.front_taps = m.layers = 1;
  n.dilations = {1};
  n.fill(random);
  const auto whole = [&](int64_t low, int64_t high) { return static_cast<float>(random.within(low, high)); };
  const auto replace = [](const float* weights, int64_t count, auto value) {
    for (int64_t i = 0; i < count; ++i) const_cast<float*>(weights)[i] = value(i);
  };
  replace(m.skip_weight, m.gate * inputs, [](int64_t) { return 0.0f; });
  replace(m.skip_bias, inputs, [&](int64_t i) { return i == inputs / 2 ? 32767 : whole(-32767, 32767); });
  replace(m.head0, inputs * sums, [&](int64_t i) { return i < sums ? 127 : whole(-127, 127); });
  replace(m.head0_bias, sums, [](int64_t) { return 0.0f; });
  replace(m.head1, sums * sums, [&](int64_t i) { return i / sums == i % sums ? 1.0f : 0.0f; });
  replace(m.head1_bias, sums, [](int64_t) { return 0.0f; });
  std::vector<float> expected;
  for (int64_t j = 0; j < sums; ++j) {
    int64_t sum = 0;
    for (int64_t i = 0; i < inputs; ++i) {
      sum += static_cast<int64_t>(std::max(m.skip_bias[i], 0.0f)) * static_cast<int64_t>(m.head0[i * sums + j]);
    }
    expected.push_back(static_cast<float>(std::max<int64_t>(sum, 0)));
  }
  for (int32_t isa = FW_ISA_PORTABLE, usable = usable_isas(); isa <= FW_ISA_NEON_DOTPROD; ++isa) {
    if (!(usable >> isa & 1)) continue;
    fw_engine_t* const engine = make(n, isa, FW_INT8, 1);
    for (int64_t streams = 1; streams <= 7; ++streams) {
      State state = random_state(n, streams, 0, random);
      const Samples drawn = run(engine, n, state, 1, Options{});
      for (int64_t s = 0; s < streams; ++s) {
        std::vector<float> outputs = part(drawn, 1, s, 1).outputs;
        // a weight of zero that shares a word with another one is 1e-41, which not every processor takes for zero
        for (float& each : outputs) each = each < 1e-30f ? 0 : each;
        CHECK(outputs == expected);
      }
    }
    CHECK(fw_engine_destroy_cpu(engine) == FW_OK);
  }
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
    for (int64_t inputs : {1, 20, 150}) {
      for (int64_t sums : {2, 37, 260}) check_int8_sums(inputs, sums);
    }
    check_not_finite();
    check_engines_side_by_side();
  }
  return report("engine");
}
