// The fused residual stack over random small stacks: every usable instruction set, both types, threads, with and
// without condition and stored tanh and sigmoid, each gradient left out in turn, on buffers of exactly the stated sizes
// that hold NaN before. Judged by plain float64 loops. Run under sanitizers by test_sanitizers.py.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "check.h"
#include "fastwave.h"
#include "page_end.h"
#include "sweep.h"

namespace {

enum Role {  // a tensor by its place in fw_stack_gradients_t
  kInput,
  kDilated,
  kDilatedBias,
  kResidualWeight,
  kResidualBias,
  kSkipWeight,
  kSkipBias,
  kConditionWeight,
  kConditioning,
  kRoles
};

constexpr const float* fw_stack_t::* kTensors[kRoles] = {
    &fw_stack_t::input,           &fw_stack_t::dilated,          &fw_stack_t::dilated_bias,
    &fw_stack_t::residual_weight, &fw_stack_t::residual_bias,    &fw_stack_t::skip_weight,
    &fw_stack_t::skip_bias,       &fw_stack_t::condition_weight, &fw_stack_t::conditioning};
constexpr float* fw_stack_gradients_t::* kGradients[kRoles] = {
    &fw_stack_gradients_t::input,         &fw_stack_gradients_t::dilated,
    &fw_stack_gradients_t::dilated_bias,  &fw_stack_gradients_t::residual_weight,
    &fw_stack_gradients_t::residual_bias, &fw_stack_gradients_t::skip_weight,
    &fw_stack_gradients_t::skip_bias,     &fw_stack_gradients_t::condition_weight,
    &fw_stack_gradients_t::conditioning};

typedef std::vector<float, AtPageEnd<float>> Given;
typedef std::vector<unsigned char, AtPageEnd<unsigned char>> Kept;

struct Stack {
  fw_stack_t fields{};  // without layer_inputs and tanh_sigmoid
  std::vector<int64_t> dilations;
  std::vector<Given> tensors;
  Given grad;  // of the wanted skip sums

  // Sets the sizes of `fields` and `dilations` beforehand; weights keep every sum near 1.
  void fill(Random& random) {
    const fw_stack_t& f = fields;
    const int64_t rows = f.batch * f.time, inputs = f.taps * f.residual + f.condition;
    const struct {
      int64_t count, terms;
    } sizes[kRoles] = {{rows * f.residual, 1},
                       {f.layers * f.taps * f.residual * 2 * f.gate, inputs},
                       {f.layers * 2 * f.gate, 9},
                       {(f.layers - 1) * f.gate * f.residual, f.gate},
                       {(f.layers - 1) * f.residual, 9},
                       {f.layers * f.gate * f.skip, f.gate},
                       {f.skip, 9},
                       {f.layers * f.condition * 2 * f.gate, inputs},
                       {rows * f.condition, 1}};
    for (int role = 0; role < kRoles; ++role) {
      const auto values = random.values(sizes[role].count, 1.5f / std::sqrt(static_cast<float>(sizes[role].terms)));
      tensors.emplace_back(values.begin(), values.end());
      fields.*kTensors[role] = tensors.back().empty() ? nullptr : tensors.back().data();
    }
    fields.dilations = dilations.data();
    const auto values = random.values(f.batch * (f.time - f.first) * f.skip, 1);
    grad.assign(values.begin(), values.end());
  }
  int64_t kept(int64_t channels) const { return fields.layers * fields.batch * fields.time * channels; }
};

Stack random_stack(Random& random, int64_t most_channels, int64_t most_time) {
  Stack s;
  fw_stack_t& f = s.fields;
  f.batch = random.within(1, 3);
  f.time = random.within(1, most_time);
  f.residual = random.within(1, most_channels);
  f.gate = random.within(1, most_channels);
  f.skip = random.within(1, most_channels);
  f.condition = random.within(0, 1) * random.within(1, most_channels);
  f.taps = random.within(2, 5);
  f.layers = random.within(1, 4);
  for (int64_t l = 0; l < f.layers; ++l) s.dilations.push_back(random.within(1, random.within(1, 2 * f.time)));
  f.first = random.within(0, 1) * random.within(0, f.time - 1);
  s.fill(random);
  return s;
}

// to += matrix^T from, with a matrix [inner, columns]
void add_product(const double* from, const double* matrix, int64_t inner, int64_t columns, double* to) {
  for (int64_t i = 0; i < inner; ++i, matrix += columns) {
    for (int64_t j = 0; j < columns; ++j) to[j] += from[i] * matrix[j];
  }
}

// The same product backward: of its inputs and of its matrix.
void add_gradients(const double* from, const double* matrix, int64_t inner, int64_t columns, const double* grad,
                   double* from_grad, double* matrix_grad) {
  for (int64_t i = 0; i < inner; ++i, matrix += columns, matrix_grad += columns) {
    for (int64_t j = 0; j < columns; ++j) {
      from_grad[i] += matrix[j] * grad[j];
      matrix_grad[j] += from[i] * grad[j];
    }
  }
}

// fastwave/reference.py in float64, one layer and one sample after the other.
struct Exact {
  std::vector<double> layer_inputs, tanh_sigmoid, skip_sum;  // as of fw_stack_t; skip_sum from `first` on
  std::vector<double> gradients[kRoles];

  explicit Exact(const Stack& s)
      : layer_inputs(zeros(s.kept(s.fields.residual))),
        tanh_sigmoid(zeros(s.kept(2 * s.fields.gate))),
        skip_sum(zeros(s.fields.batch * s.fields.time * s.fields.skip)),
        layer_grads_(layer_inputs),
        f_(s.fields),
        dilations_(s.dilations),
        grad_(zeros(s.fields.batch * s.fields.time * s.fields.skip)) {
    const int64_t sums = (f_.time - f_.first) * f_.skip, before = f_.first * f_.skip;
    for (int64_t b = 0; b < f_.batch; ++b) {
      std::copy_n(s.grad.begin() + b * sums, sums, grad_.begin() + b * (before + sums) + before);
    }
    for (size_t role = 0; role < kRoles; ++role) {
      values_[role].assign(s.tensors[role].begin(), s.tensors[role].end());
      gradients[role].resize(values_[role].size());
    }
    std::copy(values_[kInput].begin(), values_[kInput].end(), layer_inputs.begin());
    const int64_t rows = f_.batch * f_.time;
    for (int64_t layer = 0; layer < f_.layers; ++layer) {
      for (int64_t row = 0; row < rows; ++row) forward(layer, row);
    }
    for (int64_t layer = f_.layers - 1; layer >= 0; --layer) {
      for (int64_t row = 0; row < rows; ++row) backward(layer, row);
    }
    std::copy_n(layer_grads_.begin(), gradients[kInput].size(), gradients[kInput].begin());
    for (int64_t b = 0; b < f_.batch; ++b) {
      skip_sum.erase(skip_sum.begin() + b * sums, skip_sum.begin() + b * sums + before);
    }
  }

 private:
  static std::vector<double> zeros(int64_t count) { return std::vector<double>(static_cast<size_t>(count)); }

  // One layer's part of a tensor of weights, or of its gradients.
  double* weight(Role role, int64_t layer, int64_t each) { return values_[role].data() + layer * each; }
  double* grad_of(Role role, int64_t layer, int64_t each) { return gradients[role].data() + layer * each; }

  static std::vector<double> products(const double* gate, int64_t g) {
    std::vector<double> z;
    for (int64_t j = 0; j < g; ++j) z.push_back(gate[j] * gate[g + j]);
    return z;
  }

  void forward(int64_t layer, int64_t row) {
    const int64_t r = f_.residual, g = f_.gate, c = f_.condition, at = layer * f_.batch * f_.time + row;
    double* const gate = &tanh_sigmoid[at * 2 * g];  // preactivations first
    std::copy_n(weight(kDilatedBias, layer, 2 * g), 2 * g, gate);
    for (int64_t tap = 0; tap < f_.taps; ++tap) {
      const int64_t past = (f_.taps - 1 - tap) * dilations_[static_cast<size_t>(layer)];
      if (past > row % f_.time) continue;
      add_product(&layer_inputs[(at - past) * r], weight(kDilated, layer * f_.taps + tap, r * 2 * g), r, 2 * g, gate);
    }
    add_product(values_[kConditioning].data() + row * c, weight(kConditionWeight, layer, c * 2 * g), c, 2 * g, gate);
    for (int64_t j = 0; j < g; ++j) {
      gate[j] = std::tanh(gate[j]);
      gate[g + j] = 1 / (1 + std::exp(-gate[g + j]));
    }
    const std::vector<double> z = products(gate, g);
    double* const skips = &skip_sum[row * f_.skip];
    if (layer == 0) std::copy_n(values_[kSkipBias].data(), f_.skip, skips);
    add_product(z.data(), weight(kSkipWeight, layer, g * f_.skip), g, f_.skip, skips);
    if (layer + 1 == f_.layers) return;
    double* const next = &layer_inputs[(at + f_.batch * f_.time) * r];
    for (int64_t j = 0; j < r; ++j) next[j] = layer_inputs[at * r + j] + weight(kResidualBias, layer, r)[j];
    add_product(z.data(), weight(kResidualWeight, layer, g * r), g, r, next);
  }

  void backward(int64_t layer, int64_t row) {
    const int64_t r = f_.residual, g = f_.gate, c = f_.condition, at = layer * f_.batch * f_.time + row;
    const double* const gate = &tanh_sigmoid[at * 2 * g];
    const std::vector<double> z = products(gate, g);
    std::vector<double> z_grad(g), sums_grad(2 * g);
    const double* const skip_grad = &grad_[row * f_.skip];
    add_gradients(z.data(), weight(kSkipWeight, layer, g * f_.skip), g, f_.skip, skip_grad, z_grad.data(),
                  grad_of(kSkipWeight, layer, g * f_.skip));
    for (int64_t j = 0; layer == 0 && j < f_.skip; ++j) gradients[kSkipBias][j] += skip_grad[j];
    if (layer + 1 < f_.layers) {
      const double* const next = &layer_grads_[(at + f_.batch * f_.time) * r];
      add_gradients(z.data(), weight(kResidualWeight, layer, g * r), g, r, next, z_grad.data(),
                    grad_of(kResidualWeight, layer, g * r));
      for (int64_t j = 0; j < r; ++j) {
        layer_grads_[at * r + j] += next[j];
        grad_of(kResidualBias, layer, r)[j] += next[j];
      }
    }
    for (int64_t j = 0; j < g; ++j) {
      sums_grad[j] = z_grad[j] * gate[g + j] * (1 - gate[j] * gate[j]);
      sums_grad[g + j] = z_grad[j] * z[j] * (1 - gate[g + j]);
    }
    for (int64_t j = 0; j < 2 * g; ++j) grad_of(kDilatedBias, layer, 2 * g)[j] += sums_grad[j];
    for (int64_t tap = 0; tap < f_.taps; ++tap) {
      const int64_t past = (f_.taps - 1 - tap) * dilations_[static_cast<size_t>(layer)];
      if (past > row % f_.time) continue;
      add_gradients(&layer_inputs[(at - past) * r], weight(kDilated, layer * f_.taps + tap, r * 2 * g), r, 2 * g,
                    sums_grad.data(), &layer_grads_[(at - past) * r],
                    grad_of(kDilated, layer * f_.taps + tap, r * 2 * g));
    }
    add_gradients(values_[kConditioning].data() + row * c, weight(kConditionWeight, layer, c * 2 * g), c, 2 * g,
                  sums_grad.data(), gradients[kConditioning].data() + row * c,
                  grad_of(kConditionWeight, layer, c * 2 * g));
  }

  std::vector<double> layer_grads_, values_[kRoles];
  const fw_stack_t& f_;
  const std::vector<int64_t>& dilations_;
  std::vector<double> grad_;  // of all skip sums: zero before `first`
};

struct Result {
  std::vector<float> skip_sum, gradients[kRoles];
  Kept layer_inputs, tanh_sigmoid;  // in the type of the products
};

// Forward and backward; bit `role` of `wanted` is set where that gradient is.
Result run(const Stack& s, int32_t isa, int32_t type, int32_t threads, bool stores_factors, uint32_t wanted) {
  Result r;
  const int64_t bytes = type == FW_BFLOAT16 ? 2 : 4;
  const float nan = std::nanf("");
  r.skip_sum.assign(s.grad.size(), nan);
  r.layer_inputs.assign(static_cast<size_t>(s.kept(s.fields.residual) * bytes), 0xff);  // NaN in both types
  if (stores_factors) r.tanh_sigmoid.assign(static_cast<size_t>(s.kept(2 * s.fields.gate) * bytes), 0xff);
  fw_stack_t stack = s.fields;
  stack.layer_inputs = r.layer_inputs.data();
  stack.tanh_sigmoid = stores_factors ? r.tanh_sigmoid.data() : nullptr;
  CHECK(fw_residual_stack_forward_cpu(&stack, isa, type, threads, r.skip_sum.data()) == FW_OK);
  fw_stack_gradients_t to{};
  for (size_t role = 0; role < kRoles; ++role) {
    if (!(wanted >> role & 1)) continue;
    r.gradients[role].assign(s.tensors[role].size(), nan);
    to.*kGradients[role] = r.gradients[role].data();
  }
  stack.input = nullptr;
  CHECK(fw_residual_stack_backward_cpu(&stack, isa, type, threads, s.grad.data(), &to) == FW_OK);
  return r;
}

std::vector<float> widened(const Kept& kept, int32_t type) {
  std::vector<float> values(kept.size() / (type == FW_BFLOAT16 ? 2 : 4));
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t half = 0;
    if (type == FW_BFLOAT16) std::memcpy(&half, kept.data() + 2 * i, sizeof half);
    const uint32_t word = static_cast<uint32_t>(half) << 16;
    std::memcpy(&values[i], type == FW_BFLOAT16 ? static_cast<const void*>(&word) : kept.data() + 4 * i, sizeof word);
  }
  return values;
}

std::vector<float> factors_of(const Kept& kept, int32_t type) {
  if (type == FW_FLOAT32) return widened(kept, type);
  std::vector<float> values(kept.size() / 2);
  for (size_t i = 0; i < values.size(); ++i) {
    int16_t value = 0;
    std::memcpy(&value, kept.data() + 2 * i, sizeof value);
    values[i] = static_cast<float>(value) / 32767;
  }
  return values;
}

void check_stack(const Stack& s, Random& random) {
  constexpr uint32_t kAll = (1u << kRoles) - 1;
  constexpr double kLimits[] = {1e-4, 5e-2};  // float32, bfloat16; tests/test_ops.py has the exact rule
  const Exact exact(s);
  for (int32_t type : {FW_FLOAT32, FW_BFLOAT16}) {
    const bool stores_factors = random.within(0, 1) != 0;
    for (int32_t isa = FW_ISA_PORTABLE, usable = usable_isas(); isa <= FW_ISA_NEON_DOTPROD; ++isa) {
      if (!(usable >> isa & 1)) continue;
      const Result one = run(s, isa, type, 1, stores_factors, kAll);
      const double limit = kLimits[type];
      CHECK(distance(one.skip_sum, exact.skip_sum) < limit);
      if (s.fields.first == 0) {  // else a part of them is zero
        CHECK(distance(widened(one.layer_inputs, type), exact.layer_inputs) < limit);
        if (stores_factors) CHECK(distance(factors_of(one.tanh_sigmoid, type), exact.tanh_sigmoid) < limit);
      }
      for (int role = 0; role < kRoles; ++role) {
        CHECK(distance(one.gradients[role], exact.gradients[role]) < limit);
      }
      // With 3 threads all gradients, with 2 or 4 all but one, or the input's alone
      const int64_t left_out = random.within(0, kRoles - 1);
      const uint32_t some = left_out == kInput ? 1u : kAll & ~(1u << left_out);
      for (int32_t threads : {3, random.within(0, 1) ? 2 : 4}) {
        const uint32_t wanted = threads == 3 ? kAll : some;
        const Result other = run(s, isa, type, threads, stores_factors, wanted);
        CHECK(same_bits(other.skip_sum, one.skip_sum) && other.layer_inputs == one.layer_inputs &&
              other.tanh_sigmoid == one.tanh_sigmoid);
        for (int role = 0; role < kRoles; ++role) {
          if (wanted >> role & 1) CHECK(same_bits(other.gradients[role], one.gradients[role]));
        }
      }
    }
  }
}

void sweep(uint64_t seed, int stacks, int64_t most_channels, int64_t most_time) {
  Random random(seed);
  for (int i = 0; i < stacks; ++i) check_stack(random_stack(random, most_channels, most_time), random);
}

// So long that several threads sum parts of one sequence: 4,700 samples are 3 parts at least.
void check_long_sequence() {
  Random random(4);
  Stack s;
  s.fields.batch = s.fields.layers = 1;
  s.fields.time = 4700;
  s.fields.residual = s.fields.gate = s.fields.skip = 3;
  s.fields.taps = 2;
  s.dilations = {512};
  s.fill(random);
  check_stack(s, random);
}

}  // namespace

int main() {
  sweep(1, 40, 20, 30);
  sweep(2, 4, 70, 60);
  sweep(3, 4, 12, 500);
  check_long_sequence();
  return report("stack");
}
