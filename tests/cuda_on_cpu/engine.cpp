// The CUDA engine over random networks, on buffers of exactly the stated sizes and under many schedules: its outputs
// against sums in double, a run against its parts, every refusal. Built with the engine's sources and, by
// test_cuda_on_cpu.py, with sanitizers and with planted faults. `engine general|cluster SEEDS NETWORKS`
#include <cuda_runtime.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "../native/check.h"
#include "../native/networks.h"
#include "exact.h"
#include "fastwave.h"

namespace {

using on_cpu::Machine;

Network random_network(Random& random, int32_t output) {
  Network n;
  fw_model_t& m = n.model;
  m.residual = random.within(1, 20);
  m.gate = random.within(1, 20);
  m.skip = random.within(1, 40);
  m.head = random.within(1, 40);
  m.taps = random.within(2, 4);
  m.front_taps = random.within(1, 3);
  m.layers = random.within(1, 4);
  m.output = output;
  m.front_activation = static_cast<int32_t>(random.within(FW_NONE, FW_TANH));
  m.classes = output == FW_CATEGORICAL ? random.within(2, 50) : 0;
  m.outputs = output == FW_CATEGORICAL ? m.classes : output == FW_MIXTURE ? 3 * random.within(1, 6) : 2;
  for (int64_t l = 0; l < m.layers; ++l) n.dilations.push_back(random.within(1, 9));
  n.fill(random);
  return n;
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

// A run with its workspace.
struct CudaRequest : Request {
  std::vector<double> workspace;

  CudaRequest(const fw_cuda_engine_t* engine, const Network& n, State& s, int64_t count, const Options& o,
              const Samples* given = nullptr)
      : Request(n, s, count, o, given) {
    fw_plan_t plan;
    CHECK(fw_engine_plan_cuda(engine, job.streams, &plan) == FW_OK);
    workspace.resize(static_cast<size_t>(plan.workspace_bytes) / sizeof(double));
  }

  int32_t run(const fw_cuda_engine_t* engine) { return fw_engine_run_cuda(engine, &job, workspace.data(), nullptr); }
};

std::string last_error() {
  char text[512] = "";
  fw_last_error(text, sizeof text, nullptr);
  return text;
}

Samples run(const fw_cuda_engine_t* engine, const Network& n, State& s, int64_t count, const Options& o,
            const Samples* given = nullptr) {
  CudaRequest request(engine, n, s, count, o, given);
  const int32_t status = request.run(engine);
  CHECK(status == FW_OK);
  if (status != FW_OK) fprintf(stderr, "%s | %s\n", last_error().c_str(), on_cpu::fault().c_str());
  return request.samples;
}

fw_cuda_engine_t* make(const Network& n, int32_t type, int32_t kernel = FW_KERNEL_GENERAL) {
  fw_cuda_engine_t* engine = nullptr;
  CHECK(fw_engine_create_cuda(&n.model, 0, type, kernel, &engine) == FW_OK && engine != nullptr);
  return engine;
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
  options.excited = random.within(0, 2) != 0;
  return options;
}

State random_start(const Network& n, Random& random) {
  const int64_t times[] = {0, 1, random.within(0, 1000), (int64_t{1} << 62) - 11, INT64_MAX - 100};
  return random_state(n, random.within(1, 11), times[random.within(0, 4)], random);
}

// A run is the same in parts, when its tokens are given, and for a stream alone.
Samples check_run(const fw_cuda_engine_t* engine, const Network& n, const State& start, const Options& options,
                  Random& random) {
  State whole = start;
  const Samples drawn = run(engine, n, whole, kSamples, options);
  for (int64_t token : drawn.classes) CHECK(0 <= token && token < n.model.classes);
  for (float value : drawn.values) CHECK(-1 <= value && value <= 1);

  State fed = start;
  CHECK(run(engine, n, fed, kSamples, options, &drawn) == drawn && fed == whole);
  State split = start;
  for (int64_t count : kCalls) run(engine, n, split, count, options);
  CHECK(split == whole);
  const int64_t row = random.within(0, static_cast<int64_t>(start.times.size()) - 1);
  State alone = row_of(n, start, row);
  run(engine, n, alone, kSamples, options);
  CHECK(alone == row_of(n, whole, row));
  return drawn;
}

void check_general(const Network& n, int32_t type, Random& random) {
  Machine& machine = Machine::here();
  machine.multiprocessors = static_cast<int>(random.within(1, 4));   // 1 to 8 streams a block, one block or several
  machine.shared_limit = random.within(0, 3) ? 227 << 10 : 1 << 10;  // 1 KB: the scratch is in the workspace
  const Options options = random_options(random);
  const State start = random_start(n, random);
  fw_cuda_engine_t* const engine = make(n, type);
  const Samples drawn = check_run(engine, n, start, options, random);
  CHECK(distance_from_exact(n, start, drawn, options, type) < 1e-4);
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
  const Samples drawn = check_run(engine, n, start, options, random);
  CHECK(distance_from_exact(n, start, drawn, options, FW_BFLOAT16, true) < kClusterDistance);
  CHECK(fw_engine_destroy_cuda(engine) == FW_OK);

  machine.shared_limit = 227 << 10;  // on few blocks, all weights kept
  engine = make(n, FW_BFLOAT16, kernel);
  State state = start;
  CHECK(run(engine, n, state, kSamples, options) == drawn);
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
  Samples drawn[2];
  for (int folded = 0; folded < 2; ++folded) {
    const int32_t kernel = folded ? FW_KERNEL_CLUSTER : FW_KERNEL_CLUSTER_UNFOLDED;
    Machine::here().shared_limit = smallest_limit(n, kernel);
    fw_cuda_engine_t* const engine = make(n, FW_BFLOAT16, kernel);
    State state = start;
    drawn[folded] = run(engine, n, state, kSamples, options);
    CHECK(fw_engine_destroy_cuda(engine) == FW_OK);
  }
  CHECK(drawn[0] == drawn[1]);
}

// Null pointers, odd types and sizes, devices that are not there: no engine is made.
void check_creation() {
  Random random(5);
  const Network n = random_network(random, FW_GAUSSIAN);
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

// Whatever only the device can see is refused there, and the state of the same block does not change.
void check_refusals(int32_t kernel) {
  Machine::here() = Machine{};
  Machine::here().multiprocessors = 1;
  Random random(9);
  const Network n = random_network(random, FW_CATEGORICAL);
  fw_cuda_engine_t* const engine = make(n, FW_BFLOAT16, kernel);
  Options options;
  options.hop = 3;
  const State start = random_state(n, 5, 100, random);
  Samples given;
  given.classes.assign(5 * 4, 0);
  const auto refused = [&](const char* why, const auto& spoil) {
    State s = start;
    CudaRequest request(engine, n, s, 4, options, &given);
    spoil(s, request);
    const State spoilt = s;
    CHECK(request.run(engine) == FW_INVALID_ARGUMENT);
    CHECK(last_error().find(why) != std::string::npos && s == spoilt);
    CHECK(std::isnan(request.samples.outputs[0]));
  };
  const int64_t least = std::numeric_limits<int64_t>::min(), most = std::numeric_limits<int64_t>::max();
  for (int64_t odd : {int64_t{-1}, least, most, most - 3}) {
    refused("time", [&](State& s, CudaRequest&) { s.times[4] = odd; });
  }
  for (int64_t odd : {int64_t{-1}, least, most, int64_t{1} << 32}) {
    refused("in row 3", [&](State& s, CudaRequest&) { s.ids[3] = odd; });
  }
  for (int64_t odd : {int64_t{-1}, least, most, n.model.classes}) {
    refused("last class", [&](State& s, CudaRequest&) { s.last_classes.back() = odd; });
    refused("given class", [&](State&, CudaRequest&) { given.classes.back() = odd; });
    given.classes.back() = 0;
  }
  for (int64_t odd : {least, most}) {
    refused("first frame", [&](State&, CudaRequest& r) { r.first_frame[2] = odd; });
  }
  for (int64_t odd : {int64_t{-2}, int64_t{1}}) {
    refused("does not cover", [&](State&, CudaRequest& r) { r.first_frame[4] += odd; });
  }
  CHECK(fw_engine_destroy_cuda(engine) == FW_OK);
}

// An output that is not finite is named with its stream and time.
void check_not_finite(int32_t kernel) {
  Machine::here().multiprocessors = 3;
  Random random(7);
  Network n = random_network(random, FW_CATEGORICAL);
  for (int64_t j = 0; j < n.model.residual; ++j) n.weights[0][static_cast<size_t>(j)] = std::nanf("");  // class 0
  n.model.front_taps = 1;
  fw_cuda_engine_t* const engine = make(n, FW_BFLOAT16, kernel);
  State s = random_state(n, 9, 100, random);
  s.times.assign(9, 100);
  s.last_classes.assign(9, 1);
  Samples given;
  given.classes.assign(9 * 4, 1);
  given.classes[7 * 4 + 2] = given.classes[8 * 4 + 2] = given.classes[8 * 4 + 1] = 0;
  CudaRequest request(engine, n, s, 4, {}, &given);
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
      Network n = random_network(random, i % 3);
      if (!on_cluster) check_general(n, i / 3 % 2 ? FW_BFLOAT16 : FW_FLOAT32, random);
      if (on_cluster) check_cluster(n, i % 2 ? FW_KERNEL_CLUSTER : FW_KERNEL_CLUSTER_UNFOLDED, random);
      if (on_cluster) check_folding(n, random);
    }
  }
  CHECK(Machine::here().allocations == 0);
  printf("engine: %d checks, %d failed\n", checks.load(), failures.load());
  return failures == 0 ? 0 : 1;
}
