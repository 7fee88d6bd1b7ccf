// Every function of fastwave.h with null, small and odd arguments, alone and from several threads at once.
// Run under sanitizers by test_sanitizers.py. `boundary overrun` and `boundary race` plant a fault, to show that
// the sanitizers of this machine would see one.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "fastwave.h"

namespace {

constexpr int32_t kFarOff[] = {-1, std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()};

std::string last_error() {
  int64_t length = 0;
  CHECK(fw_last_error(nullptr, 0, &length) == FW_OK);
  std::vector<char> exact(static_cast<size_t>(length) + 1, 'x');
  CHECK(fw_last_error(exact.data(), length + 1, nullptr) == FW_OK);
  CHECK(std::strstr(exact.data(), "fw_") == nullptr);  // users see this text
  return exact.data();
}

void check_text(int32_t (*text)(char*, int64_t, int64_t*)) {
  int64_t length = -1;
  CHECK(text(nullptr, 0, nullptr) == FW_OK);
  CHECK(text(nullptr, 0, &length) == FW_OK && length >= 0);
  CHECK(text(nullptr, 1, &length) == FW_INVALID_ARGUMENT);
  for (int64_t capacity = 1; capacity <= length + 1; ++capacity) {  // exact sizes on the heap: one byte more is seen
    std::vector<char> buffer(static_cast<size_t>(capacity), 'x');
    int64_t whole = -1;
    CHECK(text(buffer.data(), capacity, &whole) == (capacity <= length ? FW_BUFFER_TOO_SMALL : FW_OK));
    CHECK(whole == length);
    CHECK(static_cast<int64_t>(std::strlen(buffer.data())) == capacity - 1);
  }
  char one = 'x';
  CHECK(text(&one, 0, nullptr) == FW_INVALID_ARGUMENT);
  CHECK(text(&one, -1, nullptr) == FW_INVALID_ARGUMENT);
  CHECK(text(&one, std::numeric_limits<int64_t>::min(), nullptr) == FW_INVALID_ARGUMENT);
  CHECK(one == 'x');
}

#if defined(FW_CUDA)

void check_library() {
  check_text(fw_build_info_cuda);
  CHECK(fw_device_count_cuda(nullptr) == FW_INVALID_ARGUMENT);
  CHECK(fw_device_cuda(0, nullptr) == FW_INVALID_ARGUMENT);
  int32_t count = -7;
  const int32_t status = fw_device_count_cuda(&count);
  fw_device_t device;
  std::memset(&device, 'x', sizeof device);
  if (status == FW_OK) {
    CHECK(count > 0);
    for (int32_t i = 0; i < count; ++i) CHECK(fw_device_cuda(i, &device) == FW_OK && device.multiprocessors > 0);
    CHECK(fw_device_cuda(count, &device) == FW_INVALID_ARGUMENT);
  } else {
    CHECK(status == FW_NO_DRIVER || status == FW_DRIVER_TOO_OLD || status == FW_NO_DEVICE);
    CHECK(count == -7);
    CHECK(!last_error().empty());
    CHECK(fw_device_cuda(0, &device) == status);
    CHECK(device.name[0] == 'x');
  }
  for (int32_t index : kFarOff) CHECK(fw_device_cuda(index, &device) != FW_OK);

  // What an engine does with a device is tested on one that the CPU plays: tests/cuda_on_cpu/engine.cpp.
  fw_cuda_engine_t* engine = nullptr;
  fw_model_t model{};
  fw_run_t run{};
  fw_plan_t plan{};
  CHECK(fw_engine_create_cuda(nullptr, 0, FW_FLOAT32, FW_KERNEL_AUTO, &engine) == FW_INVALID_ARGUMENT);
  CHECK(fw_engine_create_cuda(&model, 0, FW_FLOAT32, FW_KERNEL_AUTO, nullptr) == FW_INVALID_ARGUMENT);
  CHECK(fw_engine_create_cuda(&model, 0, FW_FLOAT32, FW_KERNEL_AUTO, &engine) == FW_INVALID_ARGUMENT);
  CHECK(fw_engine_create_cuda(&model, 0, FW_INT8, FW_KERNEL_AUTO, &engine) == FW_INVALID_ARGUMENT && engine == nullptr);
  CHECK(fw_engine_plan_cuda(nullptr, 1, &plan) == FW_INVALID_ARGUMENT);
  CHECK(fw_engine_run_cuda(nullptr, &run, nullptr, nullptr) == FW_INVALID_ARGUMENT);
  CHECK(fw_engine_destroy_cuda(nullptr) == FW_OK);
}

void check_message_of_thread(int) {
  CHECK(fw_device_count_cuda(nullptr) == FW_INVALID_ARGUMENT);
  CHECK(last_error() == "CUDA devices: count is null");
}

#else

constexpr double kSeconds = 1e-3;
constexpr int64_t kMost = std::numeric_limits<int64_t>::max(), kLeast = std::numeric_limits<int64_t>::min();

// The smallest network there is, on buffers of exactly its sizes; for one run of two streams and three samples.
struct Smallest {
  const int64_t dilations[1] = {1};
  const float front[2] = {0.5f, -0.5f}, dilated[4] = {1, 1, 1, 1}, dilated_bias[2] = {}, skip[1] = {1}, zero[1] = {},
              head0[1] = {1}, head1[2] = {1, -1}, head1_bias[2] = {};
  fw_model_t model{};
  std::vector<int64_t> times{5, 5}, ids{0, 1}, last_classes{0, 1}, first_frame{4, 4}, given{0, 1, 0, 1, 0, 1}, drawn;
  std::vector<float> memory, last_values{0, 0}, projected, noise, values, outputs;
  fw_run_t run{};

  Smallest() : drawn(6), memory(2 * 16), projected(2 * 5 * 32), noise(6), values(6), outputs(12) {
    model.residual = model.gate = model.skip = model.head = model.front_taps = model.layers = 1;
    model.outputs = model.taps = model.classes = 2;
    model.dilations = dilations;
    model.front = front;
    model.dilated = dilated;
    model.dilated_bias = dilated_bias;
    model.skip_weight = skip;
    model.skip_bias = model.head0_bias = zero;
    model.head0 = head0;
    model.head1 = head1;
    model.head1_bias = head1_bias;
    reset();
  }
  void reset() {
    times = {5, 5};
    run = {};
    run.streams = 2;
    run.samples = 3;
    run.times = times.data();
    run.ids = ids.data();
    run.memory = memory.data();
    run.last_classes = last_classes.data();
    run.projected = projected.data();
    run.first_frame = first_frame.data();
    run.frames = 4;
    run.hop = 1;
    run.linear = 1;
    run.temperature = run.top_p = 1;
    run.drawn_classes = drawn.data();
    run.outputs = outputs.data();
  }
};

void check_engine_creation() {
  Smallest s;
  const auto engine_of = [](const fw_model_t* m, int32_t isa, int32_t type, int32_t threads) {
    fw_engine_t* engine = nullptr;
    const int32_t status = fw_engine_create_cpu(m, isa, type, threads, &engine);
    CHECK((status == FW_OK) == (engine != nullptr));
    CHECK(fw_engine_destroy_cpu(engine) == FW_OK);
    return status;
  };
  CHECK(fw_engine_destroy_cpu(nullptr) == FW_OK);
  CHECK(fw_engine_create_cpu(&s.model, FW_ISA_PORTABLE, FW_FLOAT32, 1, nullptr) == FW_INVALID_ARGUMENT);
  CHECK(engine_of(nullptr, FW_ISA_PORTABLE, FW_FLOAT32, 1) == FW_INVALID_ARGUMENT);
  fw_features_t features;
  CHECK(fw_features_cpu(&features) == FW_OK);
  for (int32_t isa = FW_ISA_PORTABLE; isa <= FW_ISA_NEON_DOTPROD; ++isa) {
    const int32_t expected = features.usable_isas >> isa & 1 ? FW_OK : FW_UNSUPPORTED;
    for (int32_t type : {FW_FLOAT32, FW_BFLOAT16, FW_INT8}) CHECK(engine_of(&s.model, isa, type, 2) == expected);
  }
  for (int32_t odd : kFarOff) {
    CHECK(engine_of(&s.model, odd, FW_FLOAT32, 1) == FW_INVALID_ARGUMENT);
    CHECK(engine_of(&s.model, FW_ISA_PORTABLE, odd, 1) == FW_INVALID_ARGUMENT);
    CHECK(engine_of(&s.model, FW_ISA_PORTABLE, FW_FLOAT32, odd) == FW_INVALID_ARGUMENT);
    fw_model_t odd_output = s.model;
    odd_output.output = odd;
    CHECK(engine_of(&odd_output, FW_ISA_PORTABLE, FW_FLOAT32, 1) == FW_INVALID_ARGUMENT);
    fw_model_t odd_activation = s.model;
    odd_activation.front_activation = odd;
    CHECK(engine_of(&odd_activation, FW_ISA_PORTABLE, FW_FLOAT32, 1) == FW_INVALID_ARGUMENT);
  }
  CHECK(engine_of(&s.model, FW_ISA_PORTABLE, FW_FLOAT32, 0) == FW_INVALID_ARGUMENT);
  int64_t fw_model_t::* const sizes[] = {&fw_model_t::residual, &fw_model_t::gate,       &fw_model_t::skip,
                                         &fw_model_t::head,     &fw_model_t::outputs,    &fw_model_t::taps,
                                         &fw_model_t::layers,   &fw_model_t::front_taps, &fw_model_t::classes};
  for (const auto size : sizes) {
    for (int64_t odd : {int64_t{0}, int64_t{-1}, kMost, kLeast}) {
      fw_model_t m = s.model;
      m.*size = odd;
      CHECK(engine_of(&m, FW_ISA_PORTABLE, FW_INT8, 1) == FW_INVALID_ARGUMENT);
    }
  }
  const float* fw_model_t::* const weights[] = {
      &fw_model_t::front,       &fw_model_t::dilated,   &fw_model_t::dilated_bias,
      &fw_model_t::skip_weight, &fw_model_t::skip_bias, &fw_model_t::head0,
      &fw_model_t::head0_bias,  &fw_model_t::head1,     &fw_model_t::head1_bias};
  for (const auto weight : weights) {
    fw_model_t m = s.model;
    m.*weight = nullptr;
    CHECK(engine_of(&m, FW_ISA_PORTABLE, FW_FLOAT32, 1) == FW_INVALID_ARGUMENT);
  }
  fw_model_t m = s.model;
  m.layers = 2;  // and no residual weights
  CHECK(engine_of(&m, FW_ISA_PORTABLE, FW_FLOAT32, 1) == FW_INVALID_ARGUMENT);
  m = s.model;
  m.dilations = nullptr;
  CHECK(engine_of(&m, FW_ISA_PORTABLE, FW_FLOAT32, 1) == FW_INVALID_ARGUMENT);
  for (int64_t odd : {int64_t{0}, int64_t{-1}, kMost, kLeast, int64_t{1} << 25}) {
    m.dilations = &odd;
    CHECK(engine_of(&m, FW_ISA_PORTABLE, FW_FLOAT32, 1) == FW_INVALID_ARGUMENT);
  }
}

template <class Change>
void check_refused_run(fw_engine_t* engine, Smallest& s, Change&& change) {
  s.reset();
  change(s.run);
  CHECK(fw_engine_run_cpu(engine, &s.run) == FW_INVALID_ARGUMENT);
  CHECK(!last_error().empty());
  CHECK((s.times == std::vector<int64_t>{5, 5}));
}

void check_priming(fw_engine_t* engine, Smallest& s) {
  const auto prime = [&](auto change) {
    s.reset();
    s.run.projected = nullptr;
    s.run.given_classes = s.given.data();
    change(s.run);
    return fw_engine_prime_cpu(engine, &s.run);
  };
  CHECK(prime([](fw_run_t&) {}) == FW_OK && (s.times == std::vector<int64_t>{5, 5}));
  CHECK(prime([](fw_run_t& r) { r.ids = nullptr; }) == FW_OK);  // nothing is drawn
  CHECK(prime([](fw_run_t& r) { r.times = nullptr; }) == FW_INVALID_ARGUMENT);
  CHECK(prime([](fw_run_t& r) { r.memory = nullptr; }) == FW_INVALID_ARGUMENT);
  CHECK(prime([](fw_run_t& r) { r.last_classes = nullptr; }) == FW_INVALID_ARGUMENT);
  CHECK(prime([](fw_run_t& r) { r.given_classes = nullptr; }) == FW_INVALID_ARGUMENT);
  CHECK(prime([&](fw_run_t& r) { r.given_values = s.values.data(); }) == FW_INVALID_ARGUMENT);
  for (int64_t odd : {int64_t{0}, int64_t{-1}, kLeast}) {
    CHECK(prime([&](fw_run_t& r) { r.streams = odd; }) == FW_INVALID_ARGUMENT);
    CHECK(prime([&](fw_run_t& r) { r.samples = odd; }) == FW_INVALID_ARGUMENT);
    CHECK(prime([&](fw_run_t& r) { r.times[1] = odd == 0 ? -1 : odd; }) == FW_INVALID_ARGUMENT);
  }
  for (int64_t odd : {int64_t{-1}, int64_t{2}, kLeast, kMost}) {
    const int64_t kept = s.given[1];
    s.given[1] = odd;
    CHECK(prime([](fw_run_t&) {}) == FW_INVALID_ARGUMENT);
    s.given[1] = kept;
  }
}

void check_engine_runs() {
  Smallest s;
  fw_engine_t* engine = nullptr;
  CHECK(fw_engine_create_cpu(&s.model, FW_ISA_PORTABLE, FW_FLOAT32, 2, &engine) == FW_OK);
  for (int32_t odd : kFarOff) CHECK(fw_engine_settle_cpu(engine, odd) == FW_INVALID_ARGUMENT);
  CHECK(fw_engine_settle_cpu(nullptr, 1) == FW_INVALID_ARGUMENT);
  CHECK(fw_engine_settle_cpu(engine, 1) == FW_OK && fw_engine_settle_cpu(engine, 0) == FW_OK);
  int64_t floats = -7;
  CHECK(fw_engine_memory_cpu(nullptr, &floats) == FW_INVALID_ARGUMENT && floats == -7);
  CHECK(fw_engine_memory_cpu(engine, nullptr) == FW_INVALID_ARGUMENT);
  CHECK(fw_engine_memory_cpu(engine, &floats) == FW_OK && floats > 0);
  CHECK(fw_engine_prime_cpu(nullptr, &s.run) == FW_INVALID_ARGUMENT);
  CHECK(fw_engine_prime_cpu(engine, nullptr) == FW_INVALID_ARGUMENT);
  CHECK(fw_engine_run_cpu(nullptr, &s.run) == FW_INVALID_ARGUMENT);
  CHECK(fw_engine_run_cpu(engine, nullptr) == FW_INVALID_ARGUMENT);
  const auto refused = [&](auto change) { check_refused_run(engine, s, change); };
  refused([](fw_run_t& r) { r.times = nullptr; });
  refused([](fw_run_t& r) { r.ids = nullptr; });
  refused([](fw_run_t& r) { r.memory = nullptr; });
  refused([](fw_run_t& r) { r.last_classes = nullptr; });
  refused([](fw_run_t& r) { r.first_frame = nullptr; });
  refused([&](fw_run_t& r) { r.given_values = s.values.data(); });
  refused([&](fw_run_t& r) { r.drawn_values = s.values.data(); });
  for (int64_t odd : {int64_t{0}, int64_t{-1}, kLeast}) refused([&](fw_run_t& r) { r.streams = odd; });
  for (int64_t odd : {int64_t{-1}, kLeast, kMost, kMost - 4}) refused([&](fw_run_t& r) { r.samples = odd; });
  for (int64_t odd : {int64_t{0}, int64_t{-1}, kLeast}) refused([&](fw_run_t& r) { r.hop = odd; });
  for (int64_t odd : {int64_t{0}, int64_t{3}, int64_t{-1}, kLeast}) refused([&](fw_run_t& r) { r.frames = odd; });
  for (float odd : {-1.0f, std::nanf(""), HUGE_VALF}) refused([&](fw_run_t& r) { r.temperature = odd; });
  for (float odd : {0.0f, -1.0f, std::nanf("")}) refused([&](fw_run_t& r) { r.top_p = odd; });
  for (int32_t odd : {-1, kFarOff[1]}) refused([&](fw_run_t& r) { r.top_k = odd; });
  const auto refused_value = [&](std::vector<int64_t>& values, std::initializer_list<int64_t> odd) {
    for (int64_t value : odd) {
      const int64_t kept = values[1];
      values[1] = value;
      refused([&](fw_run_t& r) { r.given_classes = s.given.data(); });
      values[1] = kept;
    }
  };
  refused_value(s.ids, {-1, int64_t{1} << 32, kLeast, kMost});
  refused_value(s.last_classes, {-1, 2, kLeast, kMost});
  refused_value(s.given, {-1, 2, kLeast, kMost});
  refused_value(s.first_frame, {5, 3, -1, kLeast, kMost});
  for (int64_t time : {int64_t{-1}, kLeast, kMost, kMost - 2}) {
    s.reset();
    s.times[1] = time;
    CHECK(fw_engine_run_cpu(engine, &s.run) == FW_INVALID_ARGUMENT);
  }
  for (float u : {0.0f, 0.99999994f}) {  // the ends of the noise, and every optional pointer in turn
    s.reset();
    s.noise.assign(6, u);
    s.run.noise = s.noise.data();
    CHECK(fw_engine_run_cpu(engine, &s.run) == FW_OK && s.times[1] == 8);
    CHECK((s.drawn == std::vector<int64_t>(6, u < 0.5f ? 0 : 1)));
  }
  s.reset();
  s.run.drawn_classes = nullptr;
  s.run.outputs = nullptr;
  s.run.projected = nullptr;
  s.run.first_frame = nullptr;
  s.run.top_k = kFarOff[2];
  s.run.top_p = 1e-30f;
  CHECK(fw_engine_run_cpu(engine, &s.run) == FW_OK);
  s.reset();
  s.run.samples = 0;
  s.run.frames = kLeast;
  CHECK(fw_engine_run_cpu(engine, &s.run) == FW_OK && s.times[0] == 5);
  check_priming(engine, s);
  CHECK(fw_engine_destroy_cpu(engine) == FW_OK);
}

// A residual stack of two layers with all parts, one channel each, over three samples: on buffers of exactly its sizes.
struct SmallestStack {
  const int64_t dilations[2] = {1, 2};
  const std::vector<float> weights = std::vector<float>(8, 0.5f), three{1, -1, 2};
  std::vector<float> layer_inputs, tanh_sigmoid, skip_sum;
  std::vector<std::vector<float>> gradients;
  fw_stack_t stack{};
  fw_stack_gradients_t to{};

  SmallestStack() : layer_inputs(6, -7), tanh_sigmoid(12, -7), skip_sum(3, -7) {
    stack.batch = stack.residual = stack.gate = stack.skip = stack.condition = 1;
    stack.taps = stack.layers = 2;
    stack.time = 3;
    stack.dilations = dilations;
    stack.dilated = stack.dilated_bias = stack.residual_weight = stack.residual_bias = weights.data();
    stack.skip_weight = stack.skip_bias = stack.condition_weight = weights.data();
    stack.input = stack.conditioning = three.data();
    stack.layer_inputs = layer_inputs.data();
    stack.tanh_sigmoid = tanh_sigmoid.data();
    for (size_t count : {3, 8, 4, 1, 1, 2, 1, 4, 3}) gradients.emplace_back(count, -7.0f);
    std::vector<float>* const g = gradients.data();
    to = {g[0].data(), g[1].data(), g[2].data(), g[3].data(), g[4].data(),
          g[5].data(), g[6].data(), g[7].data(), g[8].data()};
  }
  bool untouched() const {
    const auto is = [](const std::vector<float>& v) { return v == std::vector<float>(v.size(), -7); };
    return is(layer_inputs) && is(tanh_sigmoid) && is(skip_sum) && std::all_of(gradients.begin(), gradients.end(), is);
  }
  int32_t forward(int32_t isa, int32_t type, int32_t threads) {
    return fw_residual_stack_forward_cpu(&stack, isa, type, threads, skip_sum.data());
  }
  int32_t backward(int32_t isa, int32_t type, int32_t threads) {
    return fw_residual_stack_backward_cpu(&stack, isa, type, threads, three.data(), &to);
  }
};

void check_refusal(const SmallestStack& s, int32_t status, int32_t expected, const std::string& why) {
  CHECK(status == expected);
  CHECK(last_error().find(why) != std::string::npos);
  CHECK(s.untouched());
}

void check_stack_refused(SmallestStack& s, int32_t isa, int32_t type, int32_t threads, const std::string& why) {
  check_refusal(s, s.forward(isa, type, threads), FW_INVALID_ARGUMENT, "residual stack, forward pass: " + why);
  check_refusal(s, s.backward(isa, type, threads), FW_INVALID_ARGUMENT, "residual stack, backward pass: " + why);
}

template <class Field>
void check_odd_field(Field fw_stack_t::* field, const Field& odd, const std::string& why) {
  SmallestStack s;
  s.stack.*field = odd;
  check_stack_refused(s, FW_ISA_PORTABLE, FW_FLOAT32, 1, why);
}

void check_odd_stacks() {
  typedef fw_stack_t S;
  const struct {
    const char* name;
    int64_t S::* field;
    int64_t least;
  } sizes[] = {{"batch", &S::batch, 1},         {"time", &S::time, 1},     {"residual", &S::residual, 1},
               {"gate", &S::gate, 1},           {"skip", &S::skip, 1},     {"taps", &S::taps, 2},
               {"condition", &S::condition, 0}, {"layers", &S::layers, 1}, {"first", &S::first, 0}};
  for (const auto& size : sizes) {
    for (int64_t odd : {size.least - 1, int64_t{-2}, kLeast, kMost}) {
      check_odd_field(size.field, odd, std::string(size.name) + " is " + std::to_string(odd) + ", it must be ");
    }
  }
  check_odd_field(&S::first, int64_t{3}, "first is 3, it must be 0 to 2");
  check_odd_field(&S::batch, int64_t{1} << 45, "batch 35184372088832 of time 3 is too large");
  check_odd_field(&S::time, int64_t{1} << 46, "batch 1 of time 70368744177664 is too large");
  for (int64_t odd : {int64_t{0}, int64_t{-1}, kLeast, kMost}) {
    const int64_t dilations[] = {1, odd};
    check_odd_field<const int64_t*>(&S::dilations, dilations, "dilation " + std::to_string(odd) + " of layer 1 is not");
  }
  check_odd_field<const int64_t*>(&S::dilations, nullptr, "dilations is null");
  check_odd_field<void*>(&S::layer_inputs, nullptr, "layer_inputs is null");
  const struct {
    const char* name;
    const float* S::* field;
  } pointers[] = {{"dilated", &S::dilated},
                  {"dilated_bias", &S::dilated_bias},
                  {"residual_weight", &S::residual_weight},
                  {"residual_bias", &S::residual_bias},
                  {"skip_weight", &S::skip_weight},
                  {"skip_bias", &S::skip_bias},
                  {"condition_weight", &S::condition_weight},
                  {"conditioning", &S::conditioning}};
  for (const auto& pointer : pointers) {
    check_odd_field<const float*>(pointer.field, nullptr, std::string(pointer.name) + " is null");
  }
}

void check_odd_stack_calls() {
  constexpr const char* kForward = "residual stack, forward pass: ";
  constexpr const char* kBackward = "residual stack, backward pass: ";
  constexpr int32_t kIsa = FW_ISA_PORTABLE, kType = FW_FLOAT32;
  SmallestStack s;
  for (int32_t odd : kFarOff) {
    check_stack_refused(s, odd, kType, 1, "instruction set " + std::to_string(odd) + " is not one of");
    check_stack_refused(s, kIsa, odd, 1, "type is " + std::to_string(odd) + ", it must be 0 to 1");
    check_stack_refused(s, kIsa, kType, odd, "threads is " + std::to_string(odd) + ", it must be ");
  }
  check_stack_refused(s, FW_ISA_NEON_DOTPROD + 1, kType, 1, "instruction set 7 is not one of");
  check_stack_refused(s, kIsa, FW_INT8, 1, "type is 2, it must be 0 to 1");
  check_stack_refused(s, kIsa, kType, 0, "threads is 0, it must be ");
  const float* const grad = s.three.data();
  const auto refused = [&s](int32_t status, const char* function, const char* why) {
    check_refusal(s, status, FW_INVALID_ARGUMENT, std::string(function) + why);
  };
  refused(fw_residual_stack_forward_cpu(nullptr, kIsa, kType, 1, s.skip_sum.data()), kForward, "stack is null");
  refused(fw_residual_stack_forward_cpu(&s.stack, kIsa, kType, 1, nullptr), kForward, "skip_sum is null");
  refused(fw_residual_stack_backward_cpu(nullptr, kIsa, kType, 1, grad, &s.to), kBackward, "stack is null");
  constexpr const char* kNull = "skip_sum_gradient, gradients or its input is null";
  refused(fw_residual_stack_backward_cpu(&s.stack, kIsa, kType, 1, nullptr, &s.to), kBackward, kNull);
  refused(fw_residual_stack_backward_cpu(&s.stack, kIsa, kType, 1, grad, nullptr), kBackward, kNull);
  s.to.input = nullptr;
  refused(s.backward(kIsa, kType, 1), kBackward, kNull);
  s.to.input = s.gradients[0].data();
  s.stack.input = nullptr;  // needed forward alone
  refused(s.forward(kIsa, kType, 1), kForward, "input is null");
  const std::vector<float> history(3, 0.25f);  // one step of the first layer, two of the second
  s.stack.history = history.data();
  refused(s.backward(kIsa, kType, 1), kBackward, "history is not null: whole sequences alone are trained on");
  s.stack.input = s.three.data();
  const int64_t far[] = {1, int64_t{1} << 46};
  s.stack.dilations = far;
  refused(s.forward(kIsa, kType, 1), kForward, "a history of so many steps is too large");
  s.stack.dilations = s.dilations;
  s.stack.first = 1;
  refused(s.forward(kIsa, kType, 1), kForward, "first is 1, with a history it must be 0");
  s.stack.first = 0;
  s.stack.history = nullptr;
  CHECK(s.backward(kIsa, kType, 1) == FW_OK);
}

// Parts of a sequence that go on from the layer inputs of the part before: a part of one step, then one of two.
void check_history() {
  for (int32_t type : {FW_FLOAT32, FW_BFLOAT16}) {
    SmallestStack whole, part;
    CHECK(whole.forward(FW_ISA_PORTABLE, type, 1) == FW_OK);
    std::vector<float> sums, history(3, 0.0f);  // zeros in both types
    for (int64_t first : {0, 1}) {
      part.stack.time = first + 1;
      part.stack.input = part.stack.conditioning = part.three.data() + first;
      part.stack.history = history.data();
      CHECK(part.forward(FW_ISA_PORTABLE, type, 1) == FW_OK);
      sums.insert(sums.end(), part.skip_sum.begin(), part.skip_sum.begin() + part.stack.time);
      const size_t size = type == FW_BFLOAT16 ? 2 : 4;  // after one step: its input in both layers, the newest
      char* const to = reinterpret_cast<char*>(history.data());
      const char* const from = reinterpret_cast<const char*>(part.layer_inputs.data());
      if (first == 0) memcpy(to, from, size), memcpy(to + 2 * size, from + size, size);
    }
    CHECK(sums == whole.skip_sum);
  }
}

void check_stacks() {
  check_odd_stacks();
  check_odd_stack_calls();
  check_history();
  fw_features_t features;
  CHECK(fw_features_cpu(&features) == FW_OK);
  for (int32_t isa = FW_ISA_PORTABLE; isa <= FW_ISA_NEON_DOTPROD; ++isa) {
    const int32_t expected = features.usable_isas >> isa & 1 ? FW_OK : FW_UNSUPPORTED;
    for (int32_t type : {FW_FLOAT32, FW_BFLOAT16}) {
      SmallestStack s;
      CHECK(s.forward(isa, type, 2) == expected && s.backward(isa, type, 2) == expected);
      CHECK(s.untouched() == (expected != FW_OK));
    }
  }
  const int64_t far[] = {1, int64_t{1} << 46};
  for (bool conditioned : {false, true}) {  // one layer reads no residual weights, and none reads beyond the start
    SmallestStack s;
    s.stack.dilations = far + 1;
    s.stack.layers = 1;
    s.stack.residual_weight = s.stack.residual_bias = nullptr;
    if (!conditioned) {
      s.stack.condition = 0;
      s.stack.condition_weight = s.stack.conditioning = nullptr;
    }
    CHECK(s.forward(FW_ISA_PORTABLE, FW_FLOAT32, 1024) == FW_OK);
    CHECK(s.backward(FW_ISA_PORTABLE, FW_FLOAT32, 1024) == FW_OK);
    CHECK(s.gradients[3][0] == -7 && s.gradients[4][0] == -7);  // tensors without elements
    CHECK((s.gradients[7][0] == -7 && s.gradients[8][0] == -7) == !conditioned);
  }
}

// A head of one channel each but two classes, over three rows: on buffers of exactly its sizes.
struct SmallestHead {
  const std::vector<float> three{1, -1, 2}, two{0.5f, -0.5f};
  std::vector<int64_t> targets{0, 1, 0};
  std::vector<float> gradients = std::vector<float>(9, -7.0f);
  double loss = -7;
  fw_head_t head{};
  fw_head_gradients_t to{};

  SmallestHead() {
    head.rows = 3, head.skip = head.head = 1, head.outputs = 2;
    head.weight0 = head.bias0 = head.weight1 = head.bias1 = two.data();
    head.skip_sum = head.weights = three.data();
    head.target_classes = targets.data();
    float* const g = gradients.data();
    to = {g, g + 3, g + 4, g + 5, g + 7};
  }
  bool untouched() const { return loss == -7 && gradients == std::vector<float>(9, -7.0f); }
  int32_t run(int32_t isa, int32_t type, int32_t threads) {
    return fw_head_loss_cpu(&head, isa, type, threads, &loss, &to);
  }
};

void check_head_refused(SmallestHead& h, int32_t isa, int32_t type, int32_t threads, const std::string& why) {
  CHECK(h.run(isa, type, threads) == FW_INVALID_ARGUMENT);
  CHECK(last_error().find("head and loss: " + why) != std::string::npos);
  CHECK(h.untouched());
}

template <class Field>
void check_odd_head(Field fw_head_t::* field, const Field& odd, const std::string& why) {
  SmallestHead h;
  h.head.*field = odd;
  check_head_refused(h, FW_ISA_PORTABLE, FW_FLOAT32, 1, why);
}

void check_odd_heads() {
  typedef fw_head_t H;
  const struct {
    const char* name;
    int64_t H::* field;
  } sizes[] = {{"rows", &H::rows}, {"skip", &H::skip}, {"head", &H::head}, {"outputs", &H::outputs}};
  for (const auto& size : sizes) {
    for (int64_t odd : {int64_t{0}, int64_t{-1}, kLeast, kMost}) {
      check_odd_head(size.field, odd, std::string(size.name) + " is " + std::to_string(odd) + ", it must be 1 to ");
    }
  }
  const struct {
    const char* name;
    const float* H::* field;
  } pointers[] = {{"weight0", &H::weight0}, {"bias0", &H::bias0},       {"weight1", &H::weight1},
                  {"bias1", &H::bias1},     {"skip_sum", &H::skip_sum}, {"weights", &H::weights}};
  for (const auto& pointer : pointers) {
    check_odd_head<const float*>(pointer.field, nullptr, std::string(pointer.name) + " is null");
  }
  check_odd_head<const int64_t*>(&H::target_classes, nullptr, "target_classes is null");
  for (int32_t odd : {-1, 3, kFarOff[1], kFarOff[2]}) {
    check_odd_head<int32_t>(&H::output, odd, "output " + std::to_string(odd) + " is not categorical, a mixture or");
  }
  check_odd_head<int32_t>(&H::output, FW_MIXTURE, "outputs is 2, it must be a multiple of 3 for a mixture");
  check_odd_head<int32_t>(&H::output, FW_GAUSSIAN, "target_values is null");
  SmallestHead h;
  h.head.output = FW_GAUSSIAN, h.head.outputs = 3, h.head.target_values = h.three.data();
  check_head_refused(h, FW_ISA_PORTABLE, FW_FLOAT32, 1, "outputs is 3, it must be 2 for a Gaussian");
  h.head.output = FW_MIXTURE, h.head.target_values = nullptr;
  check_head_refused(h, FW_ISA_PORTABLE, FW_FLOAT32, 1, "target_values is null");
  h.head.output = FW_CATEGORICAL, h.head.outputs = 2;
  for (int64_t odd : {int64_t{-1}, int64_t{2}, kLeast, kMost}) {
    h.targets[2] = odd;
    check_head_refused(h, FW_ISA_PORTABLE, FW_FLOAT32, 1,
                       "target " + std::to_string(odd) + " of row 2 is not one of 2 classes");
  }
  h.targets[2] = 0;
  for (int32_t odd : kFarOff) {
    check_head_refused(h, odd, FW_FLOAT32, 1, "instruction set " + std::to_string(odd) + " is not one of");
    check_head_refused(h, FW_ISA_PORTABLE, odd, 1, "type is " + std::to_string(odd) + ", it must be 0 to 1");
    check_head_refused(h, FW_ISA_PORTABLE, FW_FLOAT32, odd, "threads is " + std::to_string(odd) + ", it must be ");
  }
  check_head_refused(h, FW_ISA_PORTABLE, FW_INT8, 1, "type is 2, it must be 0 to 1");
  check_head_refused(h, FW_ISA_PORTABLE, FW_FLOAT32, 0, "threads is 0, it must be ");
  CHECK(fw_head_loss_cpu(nullptr, FW_ISA_PORTABLE, FW_FLOAT32, 1, &h.loss, &h.to) == FW_INVALID_ARGUMENT);
  CHECK(fw_head_loss_cpu(&h.head, FW_ISA_PORTABLE, FW_FLOAT32, 1, nullptr, &h.to) == FW_INVALID_ARGUMENT);
  CHECK(h.untouched());
}

void check_heads() {
  check_odd_heads();
  fw_features_t features;
  CHECK(fw_features_cpu(&features) == FW_OK);
  for (int32_t isa = FW_ISA_PORTABLE; isa <= FW_ISA_NEON_DOTPROD; ++isa) {
    const int32_t expected = features.usable_isas >> isa & 1 ? FW_OK : FW_UNSUPPORTED;
    for (int32_t type : {FW_FLOAT32, FW_BFLOAT16}) {
      SmallestHead h;
      CHECK(h.run(isa, type, 1024) == expected);
      CHECK(h.untouched() == (expected != FW_OK));
    }
  }
  SmallestHead h;
  CHECK(fw_head_loss_cpu(&h.head, FW_ISA_PORTABLE, FW_FLOAT32, 1, &h.loss, nullptr) == FW_OK);
  CHECK(std::isfinite(h.loss) && h.gradients == std::vector<float>(9, -7.0f));
  h.head.output = FW_GAUSSIAN, h.head.target_classes = nullptr, h.head.target_values = h.three.data();
  CHECK(h.run(FW_ISA_PORTABLE, FW_FLOAT32, 1) == FW_OK && std::isfinite(h.loss));
}

void check_noise() {
  std::vector<float> uniforms(6, -1);
  CHECK(fw_noise_cpu(~uint64_t{0}, UINT32_MAX, kMost - 3, 3, 2, uniforms.data()) == FW_OK);
  for (float u : uniforms) CHECK(0 <= u && u < 1);
  CHECK(fw_noise_cpu(0, 0, 0, 0, 1, uniforms.data()) == FW_OK);
  CHECK(fw_noise_cpu(0, 0, 0, 1, 1, nullptr) == FW_INVALID_ARGUMENT);
  uniforms.assign(6, -1);
  for (int64_t odd : {int64_t{-1}, int64_t{1} << 32, kLeast, kMost}) {
    CHECK(fw_noise_cpu(0, odd, 0, 3, 2, uniforms.data()) == FW_INVALID_ARGUMENT);
  }
  for (int64_t odd : {int64_t{-1}, kLeast, kMost, kMost - 1}) {
    CHECK(fw_noise_cpu(0, 0, odd, 3, 2, uniforms.data()) == FW_INVALID_ARGUMENT);
  }
  for (int64_t odd : {int64_t{-1}, kLeast}) {
    CHECK(fw_noise_cpu(0, 0, 0, odd, 2, uniforms.data()) == FW_INVALID_ARGUMENT);
    CHECK(fw_noise_cpu(0, 0, 0, 3, odd, uniforms.data()) == FW_INVALID_ARGUMENT);
  }
  for (float u : uniforms) CHECK(u == -1);
}

void check_bad_runs(double seconds, double* result) {
  CHECK(fw_read_bandwidth_cpu(FW_ISA_PORTABLE, 4096, seconds, result) == FW_INVALID_ARGUMENT);
  CHECK(fw_multiply_add_peak_cpu(FW_ISA_PORTABLE, FW_FLOAT32, seconds, result) == FW_INVALID_ARGUMENT);
}

void check_library() {
  check_text(fw_build_info_cpu);
  CHECK(fw_features_cpu(nullptr) == FW_INVALID_ARGUMENT);
  fw_features_t features;
  std::memset(&features, 'x', sizeof features);
  CHECK(fw_features_cpu(&features) == FW_OK);
  CHECK(features.usable_isas >> features.best_isa == 1);
  CHECK(features.usable_isas & 1 << FW_ISA_PORTABLE);

  double result = -7;
  check_bad_runs(kSeconds, nullptr);
  for (double seconds : {0.0, -1.0, 61.0, std::nan(""), HUGE_VAL, -HUGE_VAL}) check_bad_runs(seconds, &result);
  for (int64_t bytes : {int64_t{0}, int64_t{-1}, int64_t{4095}, (int64_t{1} << 32) + 1, kMost, kLeast}) {
    CHECK(fw_read_bandwidth_cpu(FW_ISA_PORTABLE, bytes, kSeconds, &result) == FW_INVALID_ARGUMENT);
  }
  for (int32_t odd : kFarOff) {
    CHECK(fw_read_bandwidth_cpu(odd, 4096, kSeconds, &result) == FW_INVALID_ARGUMENT);
    CHECK(fw_multiply_add_peak_cpu(odd, FW_FLOAT32, kSeconds, &result) == FW_INVALID_ARGUMENT);
    CHECK(fw_multiply_add_peak_cpu(FW_ISA_PORTABLE, odd, kSeconds, &result) == FW_INVALID_ARGUMENT);
  }
  CHECK(result == -7);

  for (int32_t isa = FW_ISA_PORTABLE; isa <= FW_ISA_NEON_DOTPROD; ++isa) {
    const bool usable = features.usable_isas >> isa & 1;
    const int32_t expected = usable ? FW_OK : FW_UNSUPPORTED;
    for (int64_t bytes : {4096, 4097, 4607, 5000, 65536}) {  // the last block is never half read
      result = -7;
      CHECK(fw_read_bandwidth_cpu(isa, bytes, kSeconds, &result) == expected);
      CHECK(usable ? result > 0 && std::isfinite(result) : result == -7);
    }
    for (int32_t type : {FW_FLOAT32, FW_BFLOAT16, FW_INT8}) {
      result = -7;
      const int32_t status = fw_multiply_add_peak_cpu(isa, type, kSeconds, &result);
      CHECK(status == expected || (type != FW_FLOAT32 && status == FW_UNSUPPORTED));
      CHECK(status == FW_OK ? result > 0 && std::isfinite(result) : result == -7);
    }
  }

  check_engine_creation();
  check_engine_runs();
  check_stacks();
  check_heads();
  check_noise();
}

void check_message_of_thread(int thread) {
  double result = 0;
  const std::string bytes = "bytes is " + std::to_string(thread);
  CHECK(fw_read_bandwidth_cpu(FW_ISA_PORTABLE, thread, kSeconds, &result) == FW_INVALID_ARGUMENT);
  CHECK(last_error().find(bytes + ",") != std::string::npos);
}

#endif

void check_everything(int thread) {
  CHECK(fw_abi_version() == FW_ABI_VERSION);
  check_text(fw_last_error);
  check_library();
  for (int i = 0; i < 100; ++i) check_message_of_thread(thread);
}

int plant(const std::string& fault) {
  if (fault == "overrun") {
    std::vector<char> small(8);
    fw_last_error(small.data(), 64, nullptr);  // the message of the failure below is longer than 8
  } else if (fault == "race") {
    int shared = 0;
    std::thread other([&] { ++shared; });
    ++shared;
    other.join();
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) {
#if defined(FW_CUDA)
    fw_device_count_cuda(nullptr);
#else
    fw_features_cpu(nullptr);
#endif
    return plant(argv[1]);
  }
  check_everything(1000);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(check_everything, 2000 + i);
  for (std::thread& thread : threads) thread.join();
  std::printf("boundary: %d checks, %d failed\n", checks.load(), failures.load());
  return failures == 0 ? 0 : 1;
}
