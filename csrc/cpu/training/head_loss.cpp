// The C function of the head and its loss: checks, weight packing, threads, and sums in a fixed order.
#include <algorithm>
#include <vector>

#include "cpu/isa.h"
#include "cpu/training/checks.h"
#include "cpu/training/head_tile.h"
#include "cpu/training/packing.h"
#include "cpu/training/workers.h"
#include "status.h"

FW_TABLE(Heads, heads)

namespace fw::cpu {
namespace {

constexpr const char* kOperation = "head and loss";
constexpr int64_t kMostRows = int64_t{1} << 40;
constexpr float kImpossible = -3e38f;  // a logit whose probability is zero beside any other

int32_t check(const fw_head_t* h, int32_t isa, int32_t type, int32_t threads) {
  if (h == nullptr) return fail(FW_INVALID_ARGUMENT, "%s: head is null", kOperation);
  int32_t status = check_sizes(kOperation, {{"rows", h->rows, 1, kMostRows},
                                            {"skip", h->skip, 1, kMostChannels},
                                            {"head", h->head, 1, kMostChannels},
                                            {"outputs", h->outputs, 1, kMostChannels},
                                            {"type", type, FW_FLOAT32, FW_BFLOAT16},
                                            {"threads", threads, 1, kMostThreads}});
  if (status != FW_OK) return status;
  if (!within(h->output, FW_CATEGORICAL, FW_GAUSSIAN)) {
    return fail(FW_INVALID_ARGUMENT, "%s: output %d is not categorical, a mixture or Gaussian (0, 1, 2)", kOperation,
                h->output);
  }
  const bool categorical = h->output == FW_CATEGORICAL;
  if ((h->output == FW_MIXTURE && h->outputs % 3 != 0) || (h->output == FW_GAUSSIAN && h->outputs != 2)) {
    return fail(FW_INVALID_ARGUMENT, "%s: outputs is %lld, it must be %s", kOperation,
                static_cast<long long>(h->outputs),
                h->output == FW_MIXTURE ? "a multiple of 3 for a mixture" : "2 for a Gaussian");
  }
  status = check_pointers(kOperation, {{"weight0", h->weight0},
                                       {"bias0", h->bias0},
                                       {"weight1", h->weight1},
                                       {"bias1", h->bias1},
                                       {"skip_sum", h->skip_sum},
                                       {"target_classes", h->target_classes, categorical},
                                       {"target_values", h->target_values, !categorical},
                                       {"weights", h->weights}});
  if (status != FW_OK) return status;
  for (int64_t i = 0; categorical && i < h->rows; ++i) {
    const int64_t target = h->target_classes[i];
    if (target < 0 || target >= h->outputs) {
      return fail(FW_INVALID_ARGUMENT, "%s: target %lld of row %lld is not one of %lld classes", kOperation,
                  static_cast<long long>(target), static_cast<long long>(i), static_cast<long long>(h->outputs));
    }
  }
  return check_isa(kOperation, isa);
}

// A matrix [inner, columns] or a bias, filled up.
Assembly filled_matrix(const float* weight, int64_t inner, int64_t columns) {
  Assembly matrix(filled(inner), filled(columns));
  matrix.put(weight, columns, 1, inner, columns, 0, 0);
  return matrix;
}

Assembly filled_transpose(const float* weight, int64_t inner, int64_t columns) {
  Assembly matrix(filled(columns), filled(inner));
  matrix.put(weight, 1, columns, columns, inner, 0, 0);
  return matrix;
}

// The second matrix, or its bias where `inner` is 1: parts of outputs, each filled up.
Assembly output_matrix(const HeadShape& s, const float* weight, int64_t inner) {
  Assembly matrix(filled(inner), s.columns());
  for (int64_t part = 0; part < s.parts(); ++part) {
    matrix.put(weight + part * s.part_outputs(), s.outputs, 1, inner, s.part_outputs(), 0, part * s.part_columns());
  }
  return matrix;
}

Assembly output_transpose(const HeadShape& s, const float* weight) {
  Assembly matrix(s.columns(), s.heads());
  for (int64_t part = 0; part < s.parts(); ++part) {
    matrix.put(weight + part * s.part_outputs(), 1, s.outputs, s.part_outputs(), s.head, part * s.part_columns(), 0);
  }
  return matrix;
}

// The same of gradients, back to the tensor of `rows` rows.
void copy_output_gradient(const HeadShape& s, float* to, const float* from, int64_t rows) {
  for (int64_t part = 0; to != nullptr && part < s.parts(); ++part) {
    copy_gradient(to + part * s.part_outputs(), s.outputs, from + part * s.part_columns(), stride_of(s.columns()), rows,
                  s.part_outputs());
  }
}

int64_t sums_count(const HeadShape& s) {
  return s.skips() * stride_of(s.heads()) + s.heads() * stride_of(s.columns()) + s.heads() + s.columns();
}

HeadSums sums_of(const HeadShape& s, float* data) {
  float* const weight1 = data + s.skips() * stride_of(s.heads());
  float* const bias0 = weight1 + s.heads() * stride_of(s.columns());
  return {data, weight1, bias0, bias0 + s.heads()};
}

int32_t head_loss(const fw_head_t& head, const HeadKernels& kernels, int32_t threads, double* loss,
                  const fw_head_gradients_t& to) {
  const HeadShape s{head.rows, head.skip, head.head, head.outputs, head.output};
  const int64_t part_rows = kernels.rows * tiles_per_sum(kernels.rows), parts = (s.rows + part_rows - 1) / part_rows;
  PackedWeights packed(kernels.gemm);
  HeadJob job{};
  job.shape = s;
  job.skip_sum = head.skip_sum;
  job.target_classes = head.target_classes;
  job.target_values = head.target_values;
  job.weights = head.weights;
  job.skip_grad = to.skip_sum;
  job.weight_gradients = to.weight0 || to.bias0 || to.weight1 || to.bias1;
  job.gradients = job.weight_gradients || job.skip_grad;
  job.weight0 = packed.pack(filled_matrix(head.weight0, s.skip, s.head));
  job.weight1 = packed.pack(output_matrix(s, head.weight1, s.head));
  if (job.gradients) job.weight1_transposed = packed.pack(output_transpose(s, head.weight1));
  if (job.skip_grad) job.weight0_transposed = packed.pack(filled_transpose(head.weight0, s.skip, s.head));
  job.bias0 = packed.copy(filled_matrix(head.bias0, 1, s.head));
  const Assembly bias1_row = output_matrix(s, head.bias1, 1);
  std::vector<float> bias1(bias1_row.dense().data, bias1_row.dense().data + s.columns());
  std::fill(bias1.begin() + s.part_outputs(), bias1.begin() + (s.parts() == 1 ? s.columns() : s.part_columns()),
            kImpossible);
  job.bias1 = bias1.data();
  if (to.skip_sum != nullptr) prefer_large_pages(to.skip_sum, s.rows * s.skip * 4);
  Workers workers(kernels.gemm, kernels.scratch_floats(s), std::min<int64_t>(threads, parts));
  OrderedSums sums(sums_count(s), workers.size());
  std::vector<double> losses(static_cast<size_t>(parts));
  sums.each(workers, parts, [&](int64_t part, float* part_sums, float* scratch) {
    const int64_t end = std::min((part + 1) * part_rows, s.rows);
    for (int64_t first = part * part_rows; first < end; first += kernels.rows) {
      const int64_t rows = std::min(kernels.rows, end - first);
      losses[static_cast<size_t>(part)] += kernels.loss(job, first, rows, sums_of(s, part_sums), scratch);
    }
  });
  *loss = 0;
  for (double each : losses) *loss += each;
  const HeadSums made = sums_of(s, sums.total());
  copy_gradient(to.weight0, s.head, made.weight0, stride_of(s.heads()), s.skip, s.head);
  copy_output_gradient(s, to.weight1, made.weight1, s.head);
  copy_gradient(to.bias0, 0, made.bias0, 0, 1, s.head);
  copy_output_gradient(s, to.bias1, made.bias1, 1);
  return FW_OK;
}

}  // namespace
}  // namespace fw::cpu

FW_API int32_t fw_head_loss_cpu(const fw_head_t* head, int32_t isa, int32_t type, int32_t threads, double* loss,
                                const fw_head_gradients_t* gradients) {
  return fw::guarded(fw::cpu::kOperation, [&] {
    const int32_t status = fw::cpu::check(head, isa, type, threads);
    if (status != FW_OK) return status;
    if (loss == nullptr) return fw::fail(FW_INVALID_ARGUMENT, "%s: loss is null", fw::cpu::kOperation);
    return fw::cpu::head_loss(*head, heads_of(isa)->of[type], threads, loss,
                              gradients == nullptr ? fw_head_gradients_t{} : *gradients);
  });
}
