// The head and its loss over random small heads of every output: every usable instruction set, both types, threads,
// each gradient left out in turn, on buffers of exactly the stated sizes that hold NaN before. Judged by plain float64
// loops. Run under sanitizers by test_sanitizers.py.
#include <algorithm>
#include <cmath>
#include <vector>

#include "check.h"
#include "fastwave.h"
#include "page_end.h"
#include "sweep.h"

namespace {

enum Role { kSkipSum, kWeight0, kBias0, kWeight1, kBias1, kRoles };  // tensors by their place in fw_head_gradients_t

constexpr const float* fw_head_t::* kTensors[kRoles] = {&fw_head_t::skip_sum, &fw_head_t::weight0, &fw_head_t::bias0,
                                                        &fw_head_t::weight1, &fw_head_t::bias1};
constexpr float* fw_head_gradients_t::* kGradients[kRoles] = {
    &fw_head_gradients_t::skip_sum, &fw_head_gradients_t::weight0, &fw_head_gradients_t::bias0,
    &fw_head_gradients_t::weight1, &fw_head_gradients_t::bias1};

typedef std::vector<float, AtPageEnd<float>> Given;

struct Head {
  fw_head_t fields{};
  std::vector<Given> tensors;
  Given weights, values;
  std::vector<int64_t, AtPageEnd<int64_t>> classes;

  Head(Random& random, int32_t output, int64_t rows, int64_t skip, int64_t head, int64_t outputs) {
    fields.rows = rows, fields.skip = skip, fields.head = head, fields.outputs = outputs, fields.output = output;
    const int64_t counts[kRoles] = {rows * skip, skip * head, head, head * outputs, outputs};
    const int64_t terms[kRoles] = {1, skip, 9, head, 9};
    for (size_t role = 0; role < kRoles; ++role) {
      const auto drawn = random.values(counts[role], 1.7f / std::sqrt(static_cast<float>(terms[role])));
      tensors.emplace_back(drawn.begin(), drawn.end());
      fields.*kTensors[role] = tensors.back().data();
    }
    for (int64_t i = 0; i < rows; ++i) {
      weights.push_back(random.value(1));
      if (output == FW_CATEGORICAL) classes.push_back(random.within(0, outputs - 1));
      if (output != FW_CATEGORICAL) values.push_back(std::min(1.0f, std::max(-1.0f, random.value(1.2f))));
    }
    fields.weights = weights.data();
    if (output == FW_CATEGORICAL) fields.target_classes = classes.data();
    if (output != FW_CATEGORICAL) fields.target_values = values.data();
  }
};

// head of fastwave/reference.py and its loss in float64, row by row; gradients by hand.
struct Exact {
  double loss = 0;
  std::vector<double> gradients[kRoles];

  explicit Exact(const Head& h) : f_(h.fields) {
    for (size_t role = 0; role < kRoles; ++role) gradients[role].resize(h.tensors[role].size());
    for (int64_t row = 0; row < f_.rows; ++row) add(row);
  }

 private:
  void add(int64_t row) {
    std::vector<double> skip(f_.skip), hidden(f_.bias0, f_.bias0 + f_.head), out(f_.bias1, f_.bias1 + f_.outputs);
    for (int64_t i = 0; i < f_.skip; ++i) {
      skip[i] = std::max(0.0, double{f_.skip_sum[row * f_.skip + i]});
      for (int64_t j = 0; j < f_.head; ++j) hidden[j] += skip[i] * f_.weight0[i * f_.head + j];
    }
    for (int64_t j = 0; j < f_.head; ++j) {
      hidden[j] = std::max(0.0, hidden[j]);
      for (int64_t k = 0; k < f_.outputs; ++k) out[k] += hidden[j] * f_.weight1[j * f_.outputs + k];
    }
    const double weight = f_.weights[row];
    loss += weight * nats(row, out);
    std::vector<double> hidden_grad(f_.head);
    for (int64_t k = 0; k < f_.outputs; ++k) {
      const double grad = weight * nats_gradient(row, out, k);
      gradients[kBias1][k] += grad;
      for (int64_t j = 0; j < f_.head; ++j) {
        gradients[kWeight1][j * f_.outputs + k] += hidden[j] * grad;
        if (hidden[j] > 0) hidden_grad[j] += f_.weight1[j * f_.outputs + k] * grad;
      }
    }
    for (int64_t j = 0; j < f_.head; ++j) {
      gradients[kBias0][j] += hidden_grad[j];
      for (int64_t i = 0; i < f_.skip; ++i) {
        gradients[kWeight0][i * f_.head + j] += skip[i] * hidden_grad[j];
        if (skip[i] > 0) gradients[kSkipSum][row * f_.skip + i] += f_.weight0[i * f_.head + j] * hidden_grad[j];
      }
    }
  }

  // fastwave/distributions.py, for outputs that are neither extreme nor at the limits of a log scale
  double nats(int64_t row, const std::vector<double>& out) const {
    const double two_pi = 2 * std::acos(-1.0);
    if (f_.output == FW_GAUSSIAN) {
      return 0.5 * std::log(two_pi) + out[1] + 0.5 * std::pow((f_.target_values[row] - out[0]) / std::exp(out[1]), 2);
    }
    const int64_t parts = f_.output == FW_MIXTURE ? 3 : 1, count = f_.outputs / parts;
    double total = 0, hit = 0;
    for (int64_t k = 0; k < count; ++k) {
      total += std::exp(out[k]);
      hit += std::exp(out[k]) *
             (f_.output == FW_MIXTURE ? bin(row, out[count + k], out[2 * count + k]) : k == f_.target_classes[row]);
    }
    return std::log(total) - std::log(hit);
  }
  // The probability of the target's bin.
  double bin(int64_t row, double mean, double log_scale) const {
    const double level = std::min(32767.0, std::nearbyint(f_.target_values[row] * 32768.0));
    const auto below = [&](double edge) { return 1 / (1 + std::exp((mean - edge) / std::exp(log_scale))); };
    const double upper = level == 32767 ? 1 : below((level + 0.5) / 32768);
    return upper - (level == -32768 ? 0 : below((level - 0.5) / 32768));
  }
  double nats_gradient(int64_t row, std::vector<double> out, int64_t k) const {
    constexpr double kStep = 1e-4;  // differences of fourth order are then good to 1e-9 or so
    const double at = out[k];
    const auto moved = [&](double by) { return out[k] = at + by * kStep, nats(row, out); };
    return (8 * (moved(1) - moved(-1)) - (moved(2) - moved(-2))) / (12 * kStep);
  }

  const fw_head_t& f_;
};

struct Result {
  double loss = std::nan("");
  std::vector<float> gradients[kRoles];
};

// Bit `role` of `wanted` is set where that gradient is.
Result run(const Head& h, int32_t isa, int32_t type, int32_t threads, uint32_t wanted) {
  Result r;
  Given memory[kRoles];
  fw_head_gradients_t to{};
  for (size_t role = 0; role < kRoles; ++role) {
    if (!(wanted >> role & 1)) continue;
    memory[role].assign(h.tensors[role].size(), std::nanf(""));
    to.*kGradients[role] = memory[role].data();
  }
  CHECK(fw_head_loss_cpu(&h.fields, isa, type, threads, &r.loss, wanted ? &to : nullptr) == FW_OK);
  for (size_t role = 0; role < kRoles; ++role) r.gradients[role].assign(memory[role].begin(), memory[role].end());
  return r;
}

// A unit of a relu that is within rounding of zero has a gradient or not: bfloat16 is judged by the loss alone.
void check_head(const Head& h, Random& random) {
  constexpr uint32_t kAll = (1u << kRoles) - 1;
  constexpr double kLimits[] = {1e-4, 5e-2};  // float32, bfloat16; tests/stack/test_head_cpu.py has the exact rule
  const Exact exact(h);
  for (int32_t type : {FW_FLOAT32, FW_BFLOAT16}) {
    for (int32_t isa = FW_ISA_PORTABLE, usable = usable_isas(); isa <= FW_ISA_NEON_DOTPROD; ++isa) {
      if (!(usable >> isa & 1)) continue;
      const Result one = run(h, isa, type, 1, kAll);
      const double scale = std::max(1.0, static_cast<double>(h.fields.rows));
      CHECK(std::fabs(one.loss - exact.loss) < kLimits[type] * scale);
      for (int role = 0; type == FW_FLOAT32 && role < kRoles; ++role) {
        CHECK(distance(one.gradients[role], exact.gradients[role]) < kLimits[type]);
      }
      const int64_t left_out = random.within(0, kRoles);
      for (uint32_t wanted : {kAll, left_out == kRoles ? 0u : kAll & ~(1u << left_out), 1u}) {
        const Result other = run(h, isa, type, static_cast<int32_t>(random.within(2, 4)), wanted);
        CHECK(other.loss == one.loss);
        for (int role = 0; role < kRoles; ++role) {
          if (wanted >> role & 1) CHECK(same_bits(other.gradients[role], one.gradients[role]));
        }
      }
    }
  }
}

}  // namespace

int main() {
  Random random(1);
  for (int i = 0; i < 45; ++i) {
    const int64_t most = i % 10 == 0 ? 70 : 20;
    const auto width = [&] { return random.within(1, most); };
    const int64_t rows = random.within(1, 120), skip = width(), head = width();
    const int64_t outputs[] = {width(), 3 * random.within(1, most / 3), 2};
    for (int32_t output : {FW_CATEGORICAL, FW_MIXTURE, FW_GAUSSIAN}) {
      if (output == i % 3) check_head(Head(random, output, rows, skip, head, outputs[output]), random);
    }
  }
  check_head(Head(random, FW_CATEGORICAL, 4700, 3, 5, 4), random);  // so long that several threads sum parts
  check_head(Head(random, FW_MIXTURE, 1500, 3, 5, 6), random);
  return report("head");
}
