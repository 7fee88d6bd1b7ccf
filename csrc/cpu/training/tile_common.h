// What kernels over tiles share: memory, rows to operands, column sums. Compiled once per instruction set; see
// cpu/isa.h.
#pragma once

#include "cpu/product_amx.h"
#include "cpu/product_fma.h"

namespace fw::FW_ISA {
namespace {

constexpr int64_t kRowsTogether = 16;  // whose bias gradients are summed apart from the rest

inline int64_t widest(int64_t a, int64_t b) {
  return a > b ? a : b;
}

inline void clear(float* values, int64_t count) {
  memset(values, 0, static_cast<size_t>(count) * sizeof(float));
}

// sums[j] += the column sums, some rows at a time: in one chain of 200 roundings a bias gradient, whose terms nearly
// cancel, was further from float64 than PyTorch's.
inline void add_columns(const float* rows, int64_t row, int64_t count, int64_t width, float* sums) {
  constexpr int64_t kTogether = 4 * kLanes;
  int64_t j = 0;
  for (; j + kTogether <= width; j += kTogether) {
    Vec total[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) total[v] = load(sums + j + v * kLanes);
    for (int64_t first = 0; first < count; first += kRowsTogether) {
      Vec sum[4] = {};
      const int64_t end = first + kRowsTogether < count ? first + kRowsTogether : count;
      for (int64_t i = first; i < end; ++i) {
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) sum[v] += load(rows + i * row + j + v * kLanes);
      }
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) total[v] += sum[v];
    }
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) store(sums + j + v * kLanes, total[v]);
  }
  for (; j < width; ++j) {
    float total = sums[j];
    for (int64_t first = 0; first < count; first += kRowsTogether) {
      float sum = 0;
      for (int64_t i = first; i < count && i < first + kRowsTogether; ++i) sum += rows[i * row + j];
      total += sum;
    }
    sums[j] = total;
  }
}

// Scratch memory of a thread, cut into tiles.
class Memory {
 public:
  explicit Memory(float* base) : base_(base) {}
  float* take(int64_t count) {
    float* const taken = base_ == nullptr ? nullptr : base_ + used_;  // without memory it only counts
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

// Rows of `channels` numbers to operand rows.
template <class P>
void lay(const float* from, int64_t stride, int64_t rows, int64_t channels, typename P::Value* to) {
  for (int64_t i = 0; i < rows; ++i) P::put(from + i * stride, channels, to, filled(channels), i, 0);
}

// Denormal numbers cost a hundred cycles each and mean nothing here.
template <class P>
uint32_t begin() {
  P::begin();
#if defined(__x86_64__)
  const uint32_t before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);  // flush to zero, denormals are zero
  return before;
#else
  return 0;
#endif
}

template <class P>
void end(uint32_t before) {
#if defined(__x86_64__)
  _mm_setcsr(before);
#else
  (void)before;
#endif
  P::end();
}

template <class P>
constexpr Products products_of() {
  return {P::packed_floats, P::pack, begin<P>, end<P>};
}

}  // namespace
}  // namespace fw::FW_ISA
