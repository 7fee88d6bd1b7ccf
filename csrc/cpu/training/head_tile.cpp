// One tile of the head with its loss, forward and backward. Compiled once per instruction set; see
// cpu/isa.h.
//
//   forward   relu(skip sum) -> relu(hidden) -> outputs -> nats
//   backward  gradients of the outputs -> of hidden -> of the skip sum, and those of the parameters
#include "cpu/training/head_tile.h"

#include "cpu/training/head_outputs.h"
#include "cpu/training/tile_common.h"

namespace fw::cpu::FW_ISA {
namespace {

// A thread's scratch. Names of operands of products end in _rows; `outputs` later holds the gradient of the skip sum;
// `strip` is scratch of the products; `right` and `transposed` are memory for operands in another layout.
template <class P>
struct HeadTiles {
  typedef typename P::Value Value;
  float *skip, *hidden, *outputs, *hidden_grad, *strip;
  Value *skip_rows, *hidden_rows, *grad_rows, *right, *transposed;
  int64_t floats;

  HeadTiles(const HeadShape& s, float* base) {
    Scratch memory(base);
    const int64_t rows = P::kHeadRows, widest_operand = widest(s.skips(), s.heads());
    skip = memory.tile(rows, s.skips());
    hidden = memory.tile(rows, s.heads());
    outputs = memory.tile(rows, widest(s.columns(), s.skips()));
    hidden_grad = memory.tile(rows, s.heads());
    strip = memory.take(P::strip_floats(widest(rows, widest_operand)));
    skip_rows = memory.values<Value>(rows * P::row_values(s.skips()));
    hidden_rows = memory.values<Value>(rows * P::row_values(s.heads()));
    grad_rows = memory.values<Value>(rows * P::row_values(widest(s.columns(), s.heads())));
    right = memory.values<Value>(P::right_values(rows));
    transposed = memory.values<Value>(P::transposed_values(rows, widest_operand));
    floats = memory.used();
  }
};

// Where the result of the relu is zero, so is the gradient.
inline Vec relu_gradient(Vec result, Vec grad) {
  return result <= Vec{} ? Vec{} : grad;
}

template <class P>
double loss(const HeadJob& job, int64_t first, int64_t rows, const HeadSums& sums, float* scratch) {
  const HeadShape& s = job.shape;
  const HeadTiles<P> t(s, scratch);
  const int64_t skips = s.skips(), heads = s.heads(), columns = s.columns();
  const int64_t skip_row = stride_of(skips), head_row = stride_of(heads), output_row = stride_of(columns);
  for (int64_t i = 0; i < rows; ++i) {
    const float* const from = job.skip_sum + (first + i) * s.skip;
    float* const skip = t.skip + i * skip_row;
    for (int64_t j = 0; j < s.skip; ++j) skip[j] = from[j] < 0 ? 0 : from[j];
    P::put(skip, s.skip, t.skip_rows, skips, i, 0);
  }
  const typename P::Left skip = P::left(t.skip_rows, skips);
  P::multiply(&skip, 1, P::packed(job.weight0, skips), rows, heads, t.hidden, head_row, false, t.strip);
  for (int64_t i = 0; i < rows; ++i) {
    float* const hidden = t.hidden + i * head_row;
    for (int64_t j = 0; j < heads; j += kLanes) store(hidden + j, relu(load(hidden + j) + load(job.bias0 + j)));
    P::put(hidden, heads, t.hidden_rows, heads, i, 0);
  }
  const typename P::Left hidden = P::left(t.hidden_rows, heads);
  P::multiply(&hidden, 1, P::packed(job.weight1, heads), rows, columns, t.outputs, output_row, false, t.strip);
  double total = 0;
  for (int64_t i = 0; i < rows; ++i) {
    float* const outputs = t.outputs + i * output_row;
    total += row_loss(job, first + i, outputs);
    if (job.gradients) P::put(outputs, columns, t.grad_rows, columns, i, 0);
  }
  if (!job.gradients) return total;
  if (job.weight_gradients) {
    add_columns(t.outputs, output_row, rows, columns, sums.bias1);
    const typename P::Left hiddens = P::transposed(t.hidden_rows, rows, heads, t.transposed);
    P::multiply(&hiddens, 1, P::right(t.grad_rows, rows, columns, t.right), heads, columns, sums.weight1, output_row,
                true, t.strip);
  }
  const typename P::Left output_grads = P::left(t.grad_rows, columns);
  P::multiply(&output_grads, 1, P::packed(job.weight1_transposed, columns), rows, heads, t.hidden_grad, head_row, false,
              t.strip);
  for (int64_t i = 0; i < rows; ++i) {
    const float* const result = t.hidden + i * head_row;
    float* const grad = t.hidden_grad + i * head_row;
    for (int64_t j = 0; j < heads; j += kLanes) store(grad + j, relu_gradient(load(result + j), load(grad + j)));
    P::put(grad, heads, t.grad_rows, heads, i, 0);  // over those of the outputs, no longer needed
  }
  if (job.weight_gradients) {
    add_columns(t.hidden_grad, head_row, rows, heads, sums.bias0);
    const typename P::Left skips_transposed = P::transposed(t.skip_rows, rows, skips, t.transposed);
    P::multiply(&skips_transposed, 1, P::right(t.grad_rows, rows, heads, t.right), skips, heads, sums.weight0, head_row,
                true, t.strip);
  }
  if (job.skip_grad == nullptr) return total;
  const typename P::Left grads = P::left(t.grad_rows, heads);
  float* const skip_grad = t.outputs;
  P::multiply(&grads, 1, P::packed(job.weight0_transposed, heads), rows, skips, skip_grad, skip_row, false, t.strip);
  for (int64_t i = 0; i < rows; ++i) {
    const float* const result = t.skip + i * skip_row;
    float* const to = job.skip_grad + (first + i) * s.skip;
    for (int64_t j = 0; j < s.skip; ++j) to[j] = result[j] <= 0 ? 0 : skip_grad[i * skip_row + j];
  }
  return total;
}

template <class P>
int64_t scratch_floats(const HeadShape& s) {
  return HeadTiles<P>(s, nullptr).floats;
}

template <class P>
constexpr HeadKernels kernels_of() {
  return {gemm_of<P>(), P::kHeadRows, scratch_floats<P>, loss<P>};
}

}  // namespace

extern const Heads heads;  // float32 and bfloat16; the matrix unit splits a float32 into 3 parts of bfloat16
#if defined(__AMX_BF16__)
const Heads heads = {{kernels_of<Split<3>>(), kernels_of<Split<1>>()}};
#elif defined(__AVX512BF16__)
const Heads heads = {{kernels_of<Fused<false>>(), kernels_of<Split<1>>()}};
#else
const Heads heads = {{kernels_of<Fused<false>>(), kernels_of<Fused<true>>()}};
#endif

}  // namespace fw::cpu::FW_ISA
