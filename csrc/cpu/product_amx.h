// C = A B or C += A B over tiles of the fused residual layer, on the matrix unit (AMX), which multiplies bfloat16 and
// adds in float32. With three parts a float32 number is the sum of three bfloat16 ones, 24 bits in all: six of the nine
// products of parts give a float32 product to 2^-26. The interface is that of product_fma.h.
#pragma once

#include "cpu/residual_layer.h"
#include "cpu/vec.h"

#if defined(__AMX_BF16__)

#if !defined(__clang__)
// GCC 12 means its own intrinsics by these (its bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace fw::FW_ISA {
namespace {

constexpr int64_t kTile = 512;  // bfloat16 numbers of an AMX tile: 16 rows of 64 bytes, here always in one piece

struct TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// GCC does not know that tile instructions read and write memory.
inline void settle_memory() {
  __asm__ volatile("" ::: "memory");
}

inline void transpose(const uint16_t* from, uint16_t* to) {  // 16 x 16 words of 32 bits
  __m512i r[16], s[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = _mm512_load_si512(from + 32 * i);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    s[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    s[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(s[i], s[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(s[i], s[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(s[i + 1], s[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(s[i + 1], s[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // r[4g + i] holds column i + 4 * lane of rows 4g .. 4g+3
    s[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    s[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    s[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    s[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    _mm512_store_si512(to + 32 * i, _mm512_shuffle_i32x4(s[i], s[i + 8], 0x88));
    _mm512_store_si512(to + 32 * (i + 8), _mm512_shuffle_i32x4(s[i], s[i + 8], 0xdd));
    _mm512_store_si512(to + 32 * (i + 4), _mm512_shuffle_i32x4(s[i + 4], s[i + 12], 0x88));
    _mm512_store_si512(to + 32 * (i + 12), _mm512_shuffle_i32x4(s[i + 4], s[i + 12], 0xdd));
  }
}

template <int kPartsOf>
struct Split {
  typedef uint16_t Value;
  struct Left {  // tile (m, k) of the first part stands at data + m * tile_row + k * tile_inner, rows `row` apart
    const uint16_t* data;
    int64_t tile_row, tile_inner, row, part, inner;
  };
  struct Right {  // tiles of 16 columns and 32 inner indices, the pairs of a column side by side
    const uint16_t* data;
    int64_t tile_column, part;
  };
  static constexpr int kParts = kPartsOf;
  static constexpr bool kLow = kParts == 1;
  // All operands of a layer's tile are then about 1 MB; there, the weights of all layers are read once a tile.
  static constexpr int64_t kForwardRows = 192, kRows = kParts == 3 ? 96 : 192;
  // Inner tiles whose products of small parts come before those of the first parts. Small ones first lose nothing to
  // rounding, and of two tiles all parts of a block, 24 KB, stay in the first level.
  static constexpr int64_t kTogether = 2;

  static void begin() {
    static constexpr TileShapes kShapes;  // not on the stack: GCC 12 believes that only its first 8 bytes are read
    _tile_loadconfig(&kShapes);
  }
  static void end() { _tile_release(); }

  static int64_t row_values(int64_t width) { return kParts * width; }  // the first parts of all, then the second
  static int64_t times_values(int64_t rows, int64_t width) { return filled(rows) * width * kParts; }
  static int64_t turned_values(int64_t rows, int64_t width) { return 2 * times_values(rows, width); }
  static int64_t strip_floats(int64_t rows) { return kParts > 1 ? filled(rows) * 32 : 0; }
  static int64_t packed_floats(int64_t inner, int64_t columns) { return inner * columns * kParts / 2; }

  // The parts of 32 numbers.
  static void split(__m512 low, __m512 high, __m512i (&parts)[kParts]) {
#pragma GCC unroll 3
    for (int p = 0; p < kParts; ++p) {
      parts[p] = (__m512i)_mm512_cvtne2ps_pbh(high, low);
      if (p + 1 < kParts) {
        const auto widened = [](__m256i half) { return _mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16); };
        low = low - (__m512)widened(_mm512_castsi512_si256(parts[p]));
        high = high - (__m512)widened(_mm512_extracti64x4_epi64(parts[p], 1));
      }
    }
  }

  static void put(const float* from, int64_t count, uint16_t* row, int64_t width, int64_t at) {
    __m512i parts[kParts];
    int64_t j = 0;
    for (; j + 32 <= count; j += 32) {
      split(load(from + j), load(from + j + 16), parts);
#pragma GCC unroll 3
      for (int p = 0; p < kParts; ++p) _mm512_storeu_si512(row + p * width + at + j, parts[p]);
    }
    if (j == count) return;
    const uint32_t there = (1u << (count - j)) - 1;
    split(_mm512_maskz_loadu_ps(static_cast<__mmask16>(there), from + j),
          _mm512_maskz_loadu_ps(static_cast<__mmask16>(there >> 16), from + j + 16), parts);
#pragma GCC unroll 3
    for (int p = 0; p < kParts; ++p) _mm512_mask_storeu_epi16(row + p * width + at + j, there, parts[p]);
  }
  static void put(const uint16_t* from, int64_t count, uint16_t* row, int64_t, int64_t at) {  // one part
    memcpy(row + at, from, static_cast<size_t>(count) * sizeof *from);
  }

  static Left left(const uint16_t* rows, int64_t width) {
    const int64_t row = row_values(width);
    return {rows, 16 * row, 32, row, width, width};
  }

  static Right times(const uint16_t* data, int64_t rows, int64_t width, uint16_t* memory) {
    const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37,
                                         5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    const int64_t row = row_values(width), tile_column = filled(rows) / 32 * kTile, part = width / 16 * tile_column;
    for (int p = 0; p < kParts; ++p) {
      for (int64_t t = 0; t < filled(rows); t += 2) {
        const uint16_t* const first = data + t * row + p * width;
        uint16_t* to = memory + p * part + t * 16;
        for (int64_t j = 0; j < width; j += 32, to += 2 * tile_column) {
          const __m512i a = t < rows ? _mm512_loadu_si512(first + j) : __m512i{};
          const __m512i b = t + 1 < rows ? _mm512_loadu_si512(first + row + j) : __m512i{};
          _mm512_store_si512(to, _mm512_permutex2var_epi16(a, low, b));
          _mm512_store_si512(to + tile_column, _mm512_permutex2var_epi16(a, high, b));
        }
      }
    }
    return {memory, tile_column, part};
  }

  static Left turned(const uint16_t* data, int64_t rows, int64_t width, uint16_t* memory) {
    const Right paired = times(data, rows, width, memory);
    const int64_t row_tiles = width / 16, time_tiles = filled(rows) / 32;
    uint16_t* const to = memory + times_values(rows, width);
    for (int p = 0; p < kParts; ++p) {
      for (int64_t row = 0; row < row_tiles; ++row) {
        for (int64_t t = 0; t < time_tiles; ++t) {
          transpose(paired.data + p * paired.part + row * paired.tile_column + t * kTile,
                    to + p * paired.part + (t * row_tiles + row) * kTile);
        }
      }
    }
    return {to, kTile, row_tiles * kTile, 32, paired.part, filled(rows)};
  }

  static void pack(const Dense& weights, float* packed) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const Right to = Split::packed(packed, weights.inner, weights.columns);
    const float* from = weights.data;
    for (int64_t k = 0; k < weights.inner; k += 2, from += 2 * weights.columns) {
      uint16_t* line = reinterpret_cast<uint16_t*>(packed) + k * 16;
      for (int64_t j = 0; j < weights.columns; j += 16, line += to.tile_column) {
        __m512i parts[kParts];
        split(load(from + j), load(from + weights.columns + j), parts);
#pragma GCC unroll 3
        for (int p = 0; p < kParts; ++p) {
          _mm512_store_si512(line + p * to.part, _mm512_permutexvar_epi16(order, parts[p]));
        }
      }
    }
  }
  static Right packed(const float* packed, int64_t inner, int64_t columns) {
    return {reinterpret_cast<const uint16_t*>(packed), inner / 32 * kTile, inner * columns};
  }

  // M x N tiles of C.
  template <int M, int N>
  static void block(const Left* lefts, int64_t count, int64_t m, const Right& right, int64_t n, float* c, int64_t c_row,
                    bool add) {
    const int64_t c_bytes = c_row * static_cast<int64_t>(sizeof(float));
    if (add) {
      _tile_loadd(0, c, c_bytes);
      if constexpr (N == 2) _tile_loadd(1, c + 16, c_bytes);
      if constexpr (M == 2) _tile_loadd(2, c + 16 * c_row, c_bytes);
      if constexpr (M == 2 && N == 2) _tile_loadd(3, c + 16 * c_row + 16, c_bytes);
    } else {
      _tile_zero(0);
      if constexpr (N == 2) _tile_zero(1);
      if constexpr (M == 2) _tile_zero(2);
      if constexpr (M == 2 && N == 2) _tile_zero(3);
    }
    const uint16_t* b = right.data + n * right.tile_column;
    for (const Left* left = lefts; left != lefts + count; ++left) {
      const uint16_t* a = left->data + m * left->tile_row;
      const int64_t row_bytes = left->row * static_cast<int64_t>(sizeof(Value));
      const auto load_a = [&](int64_t k, int part) {
        const uint16_t* const from = a + part * left->part + k * left->tile_inner;
        _tile_loadd(4, from, row_bytes);
        if constexpr (M == 2) _tile_loadd(5, from + left->tile_row, row_bytes);
      };
      const auto load_b = [&](int64_t k, int part) {
        const uint16_t* const from = b + part * right.part + k * kTile;
        _tile_loadd(6, from, 64);
        if constexpr (N == 2) _tile_loadd(7, from + right.tile_column, 64);
      };
      const auto products = [] {
        _tile_dpbf16ps(0, 4, 6);
        if constexpr (N == 2) _tile_dpbf16ps(1, 4, 7);
        if constexpr (M == 2) _tile_dpbf16ps(2, 5, 6);
        if constexpr (M == 2 && N == 2) _tile_dpbf16ps(3, 5, 7);
      };
      const int64_t inner_tiles = left->inner / 32;
      for (int64_t first = 0; first < inner_tiles; first += kTogether) {
        const int64_t end = first + kTogether < inner_tiles ? first + kTogether : inner_tiles;
        if constexpr (kParts == 3) {
          for (int64_t k = first; k < end; ++k) {
            load_a(k, 1), load_b(k, 1), products();
            load_a(k, 0), products();
            load_b(k, 2), products();
            load_a(k, 2), load_b(k, 0), products();
            load_a(k, 1), products();
          }
        }
        for (int64_t k = first; k < end; ++k) load_a(k, 0), load_b(k, 0), products();
      }
      b += inner_tiles * kTile;
    }
    _tile_stored(0, c, c_bytes);
    if constexpr (N == 2) _tile_stored(1, c + 16, c_bytes);
    if constexpr (M == 2) _tile_stored(2, c + 16 * c_row, c_bytes);
    if constexpr (M == 2 && N == 2) _tile_stored(3, c + 16 * c_row + 16, c_bytes);
  }

  // Three parts are summed apart from C, in `strip`, and then added: small parts would be lost beside a large C.
  static void multiply(const Left* lefts, int64_t count, const Right& right, int64_t rows, int64_t columns, float* c,
                       int64_t c_row, bool add, float* strip) {
    const int64_t row_tiles = (rows + 15) / 16, column_tiles = columns / 16;
    const bool apart = add && kParts > 1;
    settle_memory();
    for (int64_t n = 0; n < column_tiles; n += 2) {
      const bool two_columns = n + 1 < column_tiles;
      float* const to = apart ? strip : c + 16 * n;
      const int64_t to_row = apart ? 32 : c_row;
      for (int64_t m = 0; m < row_tiles; m += 2) {
        const bool two_rows = m + 1 < row_tiles;
        const auto run =
            two_rows ? (two_columns ? block<2, 2> : block<2, 1>) : (two_columns ? block<1, 2> : block<1, 1>);
        run(lefts, count, m, right, n, to + 16 * m * to_row, to_row, add && !apart);
      }
      settle_memory();
      for (int64_t i = 0; apart && i < rows; ++i) {
        float* const sums = c + i * c_row + 16 * n;
        store(sums, load(sums) + load(strip + 32 * i));
        if (two_columns) store(sums + 16, load(sums + 16) + load(strip + 32 * i + 16));
      }
    }
  }
};

}  // namespace
}  // namespace fw::FW_ISA

#endif
