// C = A B or C += A B over tiles of the fused residual layer, by multiply-adds on vectors: for every instruction set.
// For bfloat16 the operands are rounded to bfloat16 first; their products are exact in float32, and as fast as those of
// float32. Processors that multiply bfloat16 themselves do it in gemm_bf16.h.
//
// Both ways to multiply, this one and gemm_bf16.h, have the same interface, which is explained here.
#pragma once

#include "cpu/simd.h"
#include "cpu/training/gemm.h"

namespace fw::cpu::FW_ISA {
namespace {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kBlockVectors = 4;  // 6 x 4 sums, 4 of B and one of A are 29 of 32 registers
#else
constexpr int kBlockVectors = 2;  // 6 x 2 sums, 2 of B and one of A are 15 of 16 registers
#endif
constexpr int kBlockRows = 6;

// To the nearest bfloat16, ties to even; NaN stays NaN.
inline Vec rounded(Vec v) {
  const Words word = Words(v);
  const Words even = word + 0x7fffu + (word >> 16 & 1u);
  return Vec((v == v ? even : word | 0x10000u) & 0xffff0000u);
}

// bfloat16 -> float32
inline void widen(const uint16_t* from, int64_t count, float* to) {
  typedef uint16_t Halves __attribute__((vector_size(kLanes * 2)));
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    Halves halves;
    memcpy(&halves, from + j, sizeof halves);
    store(to + j, Vec(__builtin_convertvector(halves, Words) << 16));
  }
  for (; j < count; ++j) {
    const uint32_t word = static_cast<uint32_t>(from[j]) << 16;
    memcpy(to + j, &word, sizeof word);
  }
}

template <int V, int M>
inline void fused_block(const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_row, int64_t inner,
                        float* c, int64_t c_row, bool add) {
  Vec sums[M][V] = {};
  for (int64_t k = 0; k < inner; ++k, a += a_step, b += b_row) {
    Vec columns[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) columns[v] = load(b + v * kLanes);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const Vec value = fill(a[m * a_row]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sums[m][v] = multiply_add(value, columns[v], sums[m][v]);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      float* const to = c + m * c_row + v * kLanes;
      store(to, add ? load(to) + sums[m][v] : sums[m][v]);
    }
  }
}

template <int V, int M>
inline void fused_rows(int64_t rows, const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_row,
                       int64_t inner, float* c, int64_t c_row, bool add) {
  if (rows == M) return fused_block<V, M>(a, a_row, a_step, b, b_row, inner, c, c_row, add);
  if constexpr (M > 1) fused_rows<V, M - 1>(rows, a, a_row, a_step, b, b_row, inner, c, c_row, add);
}

// One panel of V vectors of columns, all rows: in blocks as even as they can be.
template <int V>
void fused_panel(int64_t vectors, int64_t rows, const float* a, int64_t a_row, int64_t a_step, const float* b,
                 int64_t b_row, int64_t inner, float* c, int64_t c_row, bool add) {
  if (vectors != V) {
    if constexpr (V > 1) fused_panel<V - 1>(vectors, rows, a, a_row, a_step, b, b_row, inner, c, c_row, add);
    return;
  }
  const int64_t blocks = (rows + kBlockRows - 1) / kBlockRows;
  for (int64_t i = 0, first = 0; i < blocks; ++i) {
    const int64_t count = (rows - first + blocks - i - 1) / (blocks - i);
    fused_rows<V, kBlockRows>(count, a + first * a_row, a_row, a_step, b, b_row, inner, c + first * c_row, c_row, add);
    first += count;
  }
}

// Operands of a product are rows in the layout of this type: a row of `width` channels takes row_values(width) Values.
template <bool kRounded>
struct Fused {
  typedef float Value;
  struct Left {  // A(m, k) is data[m * row + k * step], for k < inner
    const float* data;
    int64_t row, step, inner;
  };
  struct Right {  // in panels of kColumns: B(k, j) is data[j / kColumns * panel + k * row + j % kColumns]
    const float* data;
    int64_t row;  // 0: as wide as the panel, of which the last may be narrower
    int64_t panel;
  };
  static constexpr bool kBfloat16 = kRounded;
  static constexpr int64_t kParts = 1;
  // Rows of a tile. All tiles of a layer are then below a megabyte.
  static constexpr int64_t kForwardRows = 192, kBackwardRows = 192, kHeadRows = 96;
  static int64_t backward_rows(int64_t) { return kBackwardRows; }
  static constexpr int64_t kColumns = kBlockVectors * kLanes;
  static void begin() {}
  static void end() {}

  static int64_t row_values(int64_t width) { return stride_of(width); }
  static int64_t right_values(int64_t) { return 0; }
  static int64_t transposed_values(int64_t, int64_t) { return 0; }
  static int64_t strip_floats(int64_t) { return 0; }
  static int64_t packed_floats(int64_t inner, int64_t columns) { return inner * columns; }

  // Writes `count` numbers to row i, from column `at` on, and zeros up to the next multiple of kFill; `at` is such a
  // multiple.
  static void put(const float* from, int64_t count, float* rows, int64_t width, int64_t i, int64_t at) {
    float* const to = rows + i * row_values(width) + at;
    copy(from, count, to);
    fill_up(to, count);
  }
  static void put(const uint16_t* from, int64_t count, float* rows, int64_t width, int64_t i, int64_t at) {
    float* const to = rows + i * row_values(width) + at;
    widen(from, count, to);
    fill_up(to, count);
  }
  static void put_zeros(int64_t count, float* rows, int64_t width, int64_t i, int64_t at) {
    memset(rows + i * row_values(width) + at, 0, static_cast<size_t>(filled(count)) * sizeof(float));
  }
  static void fill_up(float* to, int64_t count) {
    memset(to + count, 0, static_cast<size_t>(filled(count) - count) * sizeof(float));
  }
  static void copy(const float* from, int64_t count, float* to) {
    int64_t j = 0;
    for (; j + kLanes <= count; j += kLanes) store(to + j, kRounded ? rounded(load(from + j)) : load(from + j));
    for (; j < count; ++j) to[j] = kRounded ? rounded(fill(from[j]))[0] : from[j];
  }

  static Left left(const float* rows, int64_t width) { return {rows, row_values(width), 1, width}; }
  // `rows` operand rows as B, in a product that sums over the rows; memory is zero beyond the last one.
  static Right right(const float* data, int64_t, int64_t width, float*) { return {data, row_values(width), kColumns}; }
  // The transpose of `rows` operand rows as A.
  static Left transposed(const float* data, int64_t rows, int64_t width, float*) {
    return {data, 1, row_values(width), rows};
  }

  static void pack(const Dense& weights, float* packed) {
    for (int64_t first = 0; first < weights.columns; first += kColumns) {
      const int64_t wide = weights.columns - first < kColumns ? weights.columns - first : kColumns;
      const float* from = weights.data + first;
      for (int64_t k = 0; k < weights.inner; ++k, from += weights.columns, packed += wide) {
        copy(from, wide, packed);
      }
    }
  }
  static Right packed(const float* packed, int64_t inner) { return {packed, 0, inner * kColumns}; }

  // C [rows, columns] = or += A B, where A consists of `lefts` side by side. The last argument is memory for
  // strip_floats(rows).
  static void multiply(const Left* lefts, int64_t count, const Right& right, int64_t rows, int64_t columns, float* c,
                       int64_t c_row, bool add, float*) {
    for (int64_t first = 0; first < columns; first += kColumns) {
      const int64_t wide = columns - first < kColumns ? columns - first : kColumns;
      const int64_t b_row = right.row ? right.row : wide;
      const float* b = right.data + first / kColumns * right.panel;
      bool adds = add;
      for (const Left* left = lefts; left != lefts + count; ++left) {
        for (int64_t k = 0; k < left->inner; k += kChain) {
          const int64_t inner = left->inner - k < kChain ? left->inner - k : kChain;
          fused_panel<kBlockVectors>(wide / kLanes, rows, left->data + k * left->step, left->row, left->step, b, b_row,
                                     inner, c + first, c_row, adds);
          b += inner * b_row;
          adds = true;
        }
      }
    }
  }
};

}  // namespace
}  // namespace fw::cpu::FW_ISA
