// The engine's C functions: memory, packing and threads. The kernels are in cpu/generation/generate.cpp.
#include "cpu/generation/engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <vector>

#include "cpu/generation/arena.h"
#include "cpu/generation/pack.h"
#include "cpu/generation/run_checks.h"
#include "cpu/generation/tuner.h"
#include "cpu/isa.h"
#include "cpu/thread_pool.h"
#include "status.h"

FW_TABLE(Kernels, generation)

namespace fw::cpu {
namespace {

constexpr int64_t kPrimedTogether = kFewStreams;  // tokens of the past that share each weight that is read
constexpr int64_t kMostInt8Inputs = 65536;        // 255 * 127 * 65536 is just below 2^31

int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

struct Outcome {
  int32_t status = FW_OK;
  Failure failure;
};

}  // namespace
}  // namespace fw::cpu

struct fw_engine {
  fw::cpu::Network network{};
  std::vector<fw::cpu::Layer> layers;
  std::unique_ptr<fw::cpu::Arena> weights;
  const fw::cpu::Kernels* kernels = nullptr;
  std::unique_ptr<fw::cpu::ThreadPool> pool;
  std::vector<std::unique_ptr<fw::cpu::Arena>> arenas;  // scratch, one a thread
  std::vector<fw::cpu::Scratch> scratch;
  int64_t scratch_streams = 0;
  std::vector<fw::cpu::Outcome> outcomes;  // one a thread
  fw::cpu::Tuner tuner;
};

namespace fw::cpu {
namespace {

struct Plan {  // a matrix before it is packed
  Matrix* matrix;
  PaddedMatrix source;
  const float* bias;               // null: zeros
  int64_t narrow_bias, wide_bias;  // its groups, as in padding.h
};

// Whether the older taps of a layer have a product of their own. It decides the order of additions, so it depends on
// nothing but the model and its type.
bool is_split(const fw_model_t& m, int32_t type, int64_t l) {
  return type != FW_INT8 && m.dilations[l] >= kAheadSamples;
}

// In the order of use: the older taps, the layers, then everything that a second thread can do.
std::vector<Plan> plan(const fw_model_t& m, int32_t type, fw_engine& e) {
  Network& n = e.network;
  std::vector<Plan> plans;
  const auto add = [&](Matrix& matrix, int64_t in, int64_t out, const PaddedMatrix& source, const float* bias,
                       int64_t narrow_bias, int64_t wide_bias) {
    matrix.in = in;
    matrix.out = out;
    matrix.type = type;
    plans.push_back({&matrix, source, bias, narrow_bias, wide_bias});
  };
  const int64_t g = m.gate, r = m.residual, outputs = padded(m.outputs);
  const auto add_taps = [&](Matrix& matrix, int64_t l, int64_t first, int64_t last) {
    add(matrix, (last - first) * n.residual, 2 * n.gate,
        {m.dilated + (l * m.taps + first) * r * 2 * g, r, n.residual, g, n.gate, 2 * g}, m.dilated_bias + l * 2 * g, g,
        n.gate);
  };
  const auto older_taps = [&](int64_t l) { return is_split(m, type, l) ? m.taps - 1 : 0; };
  for (int64_t l = 0; l < m.layers; ++l) {
    if (older_taps(l) == 0) continue;
    add_taps(e.layers[static_cast<size_t>(l)].past, l, 0, older_taps(l));
    n.looks_ahead = true;
  }
  for (int64_t l = 0; l < m.layers; ++l) {
    Layer& layer = e.layers[static_cast<size_t>(l)];
    add_taps(layer.dilated, l, older_taps(l), m.taps);
    if (l + 1 == m.layers) break;
    add(layer.residual, n.gate, n.residual, {m.residual_weight + l * g * r, g, n.gate, r, n.residual, r},
        m.residual_bias + l * r, r, n.residual);
  }
  for (int64_t l = 0; l < m.layers; ++l) {
    add(e.layers[static_cast<size_t>(l)].skip, n.gate, n.skip,
        {m.skip_weight + l * g * m.skip, g, n.gate, m.skip, n.skip, m.skip}, l == 0 ? m.skip_bias : nullptr, m.skip,
        n.skip);
  }
  add(n.head0, n.skip, n.head, {m.head0, m.skip, n.skip, m.head, n.head, m.head}, m.head0_bias, m.head, n.head);
  add(n.head1, n.head, outputs, {m.head1, m.head, n.head, m.outputs, outputs, m.outputs}, m.head1_bias, m.outputs,
      outputs);
  // one scale for all weights of an output costs most in the last layer: more than in all others together
  if (type == FW_INT8) n.head1.type = FW_BFLOAT16;
  return plans;
}

void shape(const fw_model_t& m, fw_engine& e) {
  Network& n = e.network;
  n.residual = padded(m.residual);
  n.gate = padded(m.gate);
  n.skip = padded(m.skip);
  n.head = padded(m.head);
  n.outputs = m.outputs;
  n.taps = m.taps;
  n.front_taps = m.front_taps;
  n.layers = m.layers;
  n.classes = m.classes;
  n.dilated_inputs = m.taps * n.residual;
  n.skip_inputs = m.layers * n.gate;
  n.output = m.output;
  n.front_activation = m.front_activation;
  e.layers.resize(static_cast<size_t>(m.layers));
  for (int64_t l = 0; l < m.layers; ++l) {
    Layer& layer = e.layers[static_cast<size_t>(l)];
    layer.dilation = m.dilations[l];
    layer.slots = (m.taps - 1) * layer.dilation;
    layer.memory = n.memory_floats;
    n.memory_floats += layer.slots * n.residual;
  }
  n.layer = e.layers.data();
}

void pack_all(const fw_model_t& m, int32_t type, fw_engine& e) {
  Network& n = e.network;
  const std::vector<Plan> plans = plan(m, type, e);
  const int64_t rows = 1 + m.front_taps * std::max<int64_t>(m.classes, 1);
  size_t bytes = Arena::size_of<float>(rows * n.residual);
  for (const Plan& each : plans) {
    const int64_t in = each.matrix->in, out = each.matrix->out;
    bytes += Arena::size_of<char>(packed_bytes(in, out, each.matrix->type)) + 3 * Arena::size_of<float>(out);
  }
  e.weights = std::make_unique<Arena>(static_cast<int64_t>(bytes));
  for (const Plan& each : plans) {  // first and in the order of use: one straight line through memory
    Matrix& matrix = *each.matrix;
    void* const place = e.weights->take<char>(packed_bytes(matrix.in, matrix.out, matrix.type));
    matrix.weights = place;
  }
  for (const Plan& each : plans) {
    Matrix& matrix = *each.matrix;
    float* const bias = e.weights->take<float>(matrix.out);
    if (each.bias != nullptr) pad_groups(bias, each.bias, each.narrow_bias, each.wide_bias, matrix.out);
    matrix.bias = bias;
    float* const scale = e.weights->take<float>(matrix.out);
    int32_t* const offset = e.weights->take<int32_t>(matrix.out);
    pack(matrix, e.kernels->lanes, each.source, const_cast<void*>(matrix.weights), scale, offset);
  }
  float* const front = e.weights->take<float>(rows * n.residual);
  if (m.front_bias != nullptr) std::copy_n(m.front_bias, m.residual, front);
  for (int64_t row = 1; row < rows; ++row)
    std::copy_n(m.front + (row - 1) * m.residual, m.residual, front + row * n.residual);
  n.front = front;
  n.skip_bias = n.layer[0].skip.bias;
}

// One thread's scratch for `streams` streams, from anything that hands out memory by `take`.
template <class Memory>
Scratch lay_out(const Network& n, int64_t streams, Memory& memory) {
  const int64_t widest = std::max({n.dilated_inputs, n.skip_inputs, n.skip, n.head, n.gate});
  Scratch s;
  s.taps = memory.template take<float>(streams * n.dilated_inputs);
  s.preactivation = memory.template take<float>(streams * 2 * n.gate);
  s.ahead = memory.template take<float>(n.looks_ahead ? n.layers * kAheadSamples * 2 * n.gate : 0);
  s.x = memory.template take<float>(streams * n.residual);
  s.z = memory.template take<float>(streams * n.skip_inputs);
  s.skip = memory.template take<float>(streams * n.skip);
  s.hidden = memory.template take<float>(streams * n.head);
  s.out = memory.template take<float>(streams * padded(n.outputs));
  s.mixed = memory.template take<float>(streams * n.layers * 2 * n.gate);
  s.conditions = memory.template take<const float*>(streams);
  s.bytes = memory.template take<uint8_t>(streams * 2 * widest);
  s.steps = memory.template take<float>(streams);
  s.order = memory.template take<int32_t>(padded(n.outputs));
  return s;
}

struct Ruler {  // hands out nothing and counts how much was asked for
  size_t bytes = 0;
  template <class Value>
  Value* take(int64_t count) {
    bytes += Arena::size_of<Value>(count);
    return nullptr;
  }
};

void make_room(fw_engine& e, int64_t streams) {  // a thread's share
  if (e.network.looks_ahead) streams = std::max(streams, kAheadSamples);
  if (streams <= e.scratch_streams) return;
  e.scratch_streams = 0;
  Ruler ruler;
  lay_out(e.network, streams, ruler);
  for (size_t i = 0; i < e.scratch.size(); ++i) {
    e.arenas[i] = std::make_unique<Arena>(static_cast<int64_t>(ruler.bytes));
    e.scratch[i] = lay_out(e.network, streams, *e.arenas[i]);
  }
  e.scratch_streams = streams;
}

int32_t create(const fw_model_t* model, int32_t isa, int32_t type, int32_t threads, fw_engine_t** engine) {
  constexpr const char* kOperation = "making a CPU engine";
  if (model == nullptr || engine == nullptr) return fail(FW_INVALID_ARGUMENT, "%s: a pointer is null", kOperation);
  if (const int32_t status = check_isa(kOperation, isa); status != FW_OK) return status;
  if (type < FW_FLOAT32 || type > FW_INT8 || threads < 1 || threads > kMostThreads) {
    return fail(FW_INVALID_ARGUMENT, "%s: type %d or threads %d is out of range", kOperation, type, threads);
  }
  if (const char* fault = model_fault(*model)) return fail(FW_INVALID_ARGUMENT, "%s: %s", kOperation, fault);
  const int64_t widest =
      std::max({model->taps * padded(model->residual), padded(model->gate), padded(model->skip), padded(model->head)});
  if (type == FW_INT8 && widest > kMostInt8Inputs) {
    return fail(FW_UNSUPPORTED, "%s: int8 sums overflow beyond %lld inputs, this model has %lld; use bfloat16",
                kOperation, static_cast<long long>(kMostInt8Inputs), static_cast<long long>(widest));
  }
  auto made = std::make_unique<fw_engine>();
  made->kernels = generation_of(isa);
  shape(*model, *made);
  pack_all(*model, type, *made);
  made->pool = std::make_unique<ThreadPool>(threads);
  made->arenas.resize(static_cast<size_t>(threads));
  made->scratch.resize(static_cast<size_t>(threads));
  made->outcomes.resize(static_cast<size_t>(threads));
  make_room(*made, 1);
  *engine = made.release();
  return FW_OK;
}

// The last tokens of a stream's past; zeros stand where the past is shorter than the front is wide.
template <class Token>
void keep_last(const Token* past, int64_t samples, int64_t front_taps, Token* last) {
  for (int64_t tap = 0; tap < front_taps; ++tap) {
    const int64_t at = samples - front_taps + tap;
    last[tap] = at < 0 ? Token{} : past[at];
  }
}

int32_t prime(fw_engine_t* engine, const fw_run_t* job) {
  constexpr const char* kOperation = "priming a CPU engine";
  if (engine == nullptr || job == nullptr) return fail(FW_INVALID_ARGUMENT, "%s: a pointer is null", kOperation);
  const Network& n = engine->network;
  if (const char* fault = past_fault(n, *job)) return fail(FW_INVALID_ARGUMENT, "%s: %s", kOperation, fault);
  make_room(*engine, kPrimedTogether);
  std::fill_n(job->memory, job->streams * n.memory_floats, 0.0f);
  for (int64_t s = 0; s < job->streams; ++s) {
    engine->kernels->prime(n, *job, s, kPrimedTogether, engine->scratch[0]);
    const int64_t past = s * job->samples, last = s * n.front_taps;
    if (n.classes) {
      keep_last(job->given_classes + past, job->samples, n.front_taps, job->last_classes + last);
    } else {
      keep_last(job->given_values + past, job->samples, n.front_taps, job->last_values + last);
    }
  }
  return FW_OK;
}

// Samples first .. last-1 of all streams by one schedule.
struct Turn {
  fw_engine& engine;
  const fw_run_t& job;
  Schedule schedule;
  int64_t first, last, workers, each;
  Relay relay;

  Turn(fw_engine& e, const fw_run_t& j, Schedule s, int64_t begin, int64_t end)
      : engine(e), job(j), schedule(s), first(begin), last(end), workers(1), each(j.streams) {
    if (relayed()) workers = 2;
    if (schedule == kSpread) {
      workers = std::min<int64_t>(e.pool->size(), j.streams);
      each = divide_up(j.streams, workers);
    }
    relay.yield = [] { std::this_thread::yield(); };
  }

  bool relayed() const { return schedule == kRelayed || schedule == kGrouped; }

  void operator()(int32_t thread) {
    const auto index = static_cast<size_t>(thread);
    if (thread >= workers) return;
    const int64_t begin = schedule == kSpread ? std::min(job.streams, thread * each) : 0;
    Part part = {begin, std::min(job.streams, begin + each), first, last, Role::kAll, nullptr, 1};
    Scratch scratch = engine.scratch[index];
    Outcome& outcome = engine.outcomes[index];
    if (relayed()) {
      part.groups = schedule == kGrouped ? kMostGroups : 1;
      part.role = thread == 0 ? Role::kBody : Role::kTail;
      part.relay = &relay;
      scratch.z = engine.scratch[0].z;
      outcome.status = engine.kernels->run(engine.network, job, part, scratch, &outcome.failure);
      return;
    }
    const int64_t end = part.last_stream, groups = std::max<int64_t>(1, divide_up(end - begin, kFewStreams));
    const int64_t together = divide_up(end - begin, groups);  // groups as even as they can be
    for (; part.first_stream < end && outcome.status == FW_OK; part.first_stream += together) {
      part.last_stream = std::min(end, part.first_stream + together);
      outcome.status = engine.kernels->run(engine.network, job, part, scratch, &outcome.failure);
    }
  }

  const Outcome& run() {
    std::fill(engine.outcomes.begin(), engine.outcomes.end(), Outcome{});
    if (workers == 1) {
      (*this)(0);
    } else {
      engine.pool->run([](void* turn, int32_t thread) { (*static_cast<Turn*>(turn))(thread); }, this);
    }
    for (const Outcome& outcome : engine.outcomes) {
      if (outcome.status != FW_OK) return outcome;
    }
    return engine.outcomes.front();
  }
};

int32_t run(fw_engine_t* engine, fw_run_t* job) {
  constexpr const char* kOperation = "running a CPU engine";
  if (engine == nullptr || job == nullptr) return fail(FW_INVALID_ARGUMENT, "%s: a pointer is null", kOperation);
  if (const char* fault = run_fault(engine->network, *job))
    return fail(FW_INVALID_ARGUMENT, "%s: %s", kOperation, fault);
  engine->tuner.expect(job->streams, engine->pool->size());
  make_room(*engine, std::min(job->streams, kFewStreams));
  for (int64_t first = 0; first < job->samples;) {
    const Tuner::Choice choice = engine->tuner.next();
    const int64_t last = first + std::min(choice.samples, job->samples - first);
    const auto begun = std::chrono::steady_clock::now();
    Turn turn(*engine, *job, choice.schedule, first, last);
    const Outcome& outcome = turn.run();
    if (outcome.status != FW_OK) {
      job->failed_stream = outcome.failure.stream;
      job->failed_time = outcome.failure.time;
      return fail(outcome.status, "%s: the output for sample %lld of stream %lld is not finite", kOperation,
                  static_cast<long long>(outcome.failure.time),
                  static_cast<long long>(job->ids[outcome.failure.stream]));
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
    engine->tuner.record(last - first, took.count());
    first = last;
  }
  return FW_OK;
}

}  // namespace
}  // namespace fw::cpu

FW_API int32_t fw_engine_create_cpu(const fw_model_t* model, int32_t isa, int32_t type, int32_t threads,
                                    fw_engine_t** engine) {
  return fw::guarded("making a CPU engine", [&] { return fw::cpu::create(model, isa, type, threads, engine); });
}

FW_API int32_t fw_engine_destroy_cpu(fw_engine_t* engine) {
  return fw::guarded("freeing a CPU engine", [&] {
    delete engine;
    return FW_OK;
  });
}

FW_API int32_t fw_engine_memory_cpu(const fw_engine_t* engine, int64_t* floats) {
  if (engine == nullptr || floats == nullptr) {
    return fw::fail(FW_INVALID_ARGUMENT, "the memory of a CPU engine: a pointer is null");
  }
  *floats = engine->network.memory_floats;
  return FW_OK;
}

FW_API int32_t fw_engine_settle_cpu(fw_engine_t* engine, int32_t settled) {
  if (engine == nullptr || !fw::within(settled, 0, 1)) {
    return fw::fail(FW_INVALID_ARGUMENT, "settling a CPU engine: the engine is null, or settled is not 0 or 1");
  }
  engine->tuner.settle(settled == 1);
  return FW_OK;
}

FW_API int32_t fw_engine_prime_cpu(fw_engine_t* engine, fw_run_t* run) {
  return fw::guarded("priming a CPU engine", [&] { return fw::cpu::prime(engine, run); });
}

FW_API int32_t fw_engine_run_cpu(fw_engine_t* engine, fw_run_t* run) {
  return fw::guarded("running a CPU engine", [&] { return fw::cpu::run(engine, run); });
}
