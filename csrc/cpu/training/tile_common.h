// What the kernels of the residual stack and of the head share: scratch memory, operand rows, column sums. Compiled
// once per instruction set; see cpu/isa.h.
#pragma once

#include "cpu/denormals.h"
#include "cpu/training/gemm_bf16.h"
#include "cpu/training/gemm_fma.h"

namespace fw::cpu::FW_ISA {
namespace {

constexpr int64_t kRowsPerSum = 16;  // whose bias gradients are summed before they are added to the rest

inline int64_t widest(int64_t a, int64_t b) {
  return a > b ? a : b;
}

inline void clear(float* values, int64_t count) {
  memset(values, 0, static_cast<size_t>(count) * sizeof(float));
}

// As add_columns, of `kCount` vectors of columns.
template <int kCount>
void add_vectors(const float* rows, int64_t row, int64_t count, float* sums) {
  Vec total[kCount];
#pragma GCC unroll 4
  for (int v = 0; v < kCount; ++v) total[v] = load(sums + v * kLanes);
  for (int64_t first = 0; first < count; first += kRowsPerSum) {
    Vec sum[kCount] = {};
    const int64_t end = first + kRowsPerSum < count ? first + kRowsPerSum : count;
    for (int64_t i = first; i < end; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < kCount; ++v) sum[v] += load(rows + i * row + v * kLanes);
    }
#pragma GCC unroll 4
    for (int v = 0; v < kCount; ++v) total[v] += sum[v];
  }
#pragma GCC unroll 4
  for (int v = 0; v < kCount; ++v) store(sums + v * kLanes, total[v]);
}

// sums[j] += the column sums, a few rows at a time: in one chain of 200 roundings a bias gradient, whose terms nearly
// cancel, was further from float64 than PyTorch's.
inline void add_columns(const float* rows, int64_t row, int64_t count, int64_t width, float* sums) {
  int64_t j = 0;
  for (; j + 4 * kLanes <= width; j += 4 * kLanes) add_vectors<4>(rows + j, row, count, sums + j);
  for (; j + kLanes <= width; j += kLanes) add_vectors<1>(rows + j, row, count, sums + j);
  for (; j < width; ++j) {
    float total = sums[j];
    for (int64_t first = 0; first < count; first += kRowsPerSum) {
      float sum = 0;
      for (int64_t i = first; i < count && i < first + kRowsPerSum; ++i) sum += rows[i * row + j];
      total += sum;
    }
    sums[j] = total;
  }
}

// Scratch memory of a thread, handed out tile by tile.
class Scratch {
 public:
  explicit Scratch(float* base) : base_(base) {}
  float* take(int64_t count) {
    float* const taken = base_ == nullptr ? nullptr : base_ + used_;  // without a base it only counts
    used_ += (count + 15) / 16 * 16;
    return taken;
  }
  float* tile(int64_t rows, int64_t width) { return take(rows * stride_of(width)); }
  template <class Value>
  Value* values(int64_t count) {
    return reinterpret_cast<Value*>(take(count * static_cast<int64_t>(sizeof(Value)) / 4 + 16));
  }
  int64_t used() const { return used_; }

 private:
  float* base_;
  int64_t used_ = 0;
};

// Writes rows of `channels` numbers as operand rows.
template <class P>
void put_rows(const float* from, int64_t stride, int64_t rows, int64_t channels, typename P::Value* to) {
  for (int64_t i = 0; i < rows; ++i) P::put(from + i * stride, channels, to, filled(channels), i, 0);
}

// What a thread does before and after its tiles.
template <class P>
uint32_t begin() {
  P::begin();
  return flush_denormals();
}

template <class P>
void end(uint32_t before) {
  restore_denormals(before);
  P::end();
}

template <class P>
constexpr Gemm gemm_of() {
  return {P::packed_floats, P::pack, begin<P>, end<P>};
}

}  // namespace
}  // namespace fw::cpu::FW_ISA
