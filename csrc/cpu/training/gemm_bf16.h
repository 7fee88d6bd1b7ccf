// C = A B or C += A B over tiles of the fused residual layer, by instructions that multiply bfloat16 and add in
// float32: those of the matrix unit (AMX), or without one the dot products of AVX-512. With three parts a float32
// number is the sum of three bfloat16 ones, 24 bits in all: six of the nine products of parts give a float32 product to
// 2^-26; only the matrix unit is fast enough for that to pay. The interface is that of gemm_fma.h.
#pragma once

#include "cpu/simd.h"
#include "cpu/training/gemm.h"

#if defined(__AVX512BF16__)

#if !defined(__clang__)
// GCC 12 means its own intrinsics by these (its bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace fw::cpu::FW_ISA {
namespace {

constexpr int64_t kTile = 512;  // bfloat16 numbers of an AMX tile: 16 rows of 64 bytes, here always in one piece

#if defined(__AMX_BF16__)
struct TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

#endif

// GCC does not know that tile instructions read and write memory.
inline void settle_memory() {
  __asm__ volatile("" ::: "memory");
}

inline void transpose(uint16_t* tile) {  // 16 x 16 words of 32 bits
  __m512i r[16], s[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = _mm512_load_si512(tile + 32 * i);
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
    _mm512_store_si512(tile + 32 * i, _mm512_shuffle_i32x4(s[i], s[i + 8], 0x88));
    _mm512_store_si512(tile + 32 * (i + 8), _mm512_shuffle_i32x4(s[i], s[i + 8], 0xdd));
    _mm512_store_si512(tile + 32 * (i + 4), _mm512_shuffle_i32x4(s[i + 4], s[i + 12], 0x88));
    _mm512_store_si512(tile + 32 * (i + 12), _mm512_shuffle_i32x4(s[i + 4], s[i + 12], 0xdd));
  }
}

template <int kPartsOf>
struct Split {
  typedef uint16_t Value;
  // The parts of a tile stand side by side, and so do the tiles along the inner index: a product reads straight on,
  // which took products of 128 inner indices from 312 to 380 GFLOP/s.
  struct Left {  // tiles of 16 rows and 32 inner indices
    const uint16_t* data;
    int64_t inner;
  };
  struct Right {  // tiles of 16 columns and 32 inner indices, the pairs of a column side by side
    const uint16_t* data;
    int64_t inner;
    // Or, where `data` is null, `count` operand rows of some width to sum over. Tiles are made of two columns at a
    // time, in `memory`, which stays in the first level. Making them for all columns beforehand took 48 ms of a step.
    const uint16_t* rows;
    int64_t width, count;
    uint16_t* memory;
  };
  static constexpr int kParts = kPartsOf;
  static constexpr bool kBfloat16 = kParts == 1;
  // Rows of a tile, at most: all operands are then about 1 MB. The forward pass reads all layers' weights once a tile.
  static constexpr int64_t kForwardRows = kParts == 3 ? 256 : 192, kBackwardRows = kParts == 3 ? 96 : 192;
  static constexpr int64_t kHeadRows = kParts == 3 ? 192 : 96;
  // Rows of a tile in the backward pass. Small tiles fit a nearer cache, but every tile reads and writes sums as large
  // as the weights: a backward pass of music8x10 takes 10% less with 64 rows than with 96, one of vocoder 8% more.
  static int64_t backward_rows(int64_t weights) { return kParts == 3 && weights < (1 << 16) ? 64 : kBackwardRows; }
  // Inner tiles whose products of small parts are added before those of the first parts. Added first, small ones lose
  // nothing to rounding; and all parts of a block of two tiles, 24 KB, stay in the first level of the cache.
  static constexpr int64_t kSmallFirst = 2;
  // Inner tiles that all rows take before the next ones: all parts of two columns, 24 KB, then stay in the first level.
  static constexpr int64_t kInnerTiles = 4;

#if defined(__AMX_BF16__)
  static void begin() {
    static constexpr TileShapes kShapes;  // not on the stack: GCC 12 believes that only its first 8 bytes are read
    _tile_loadconfig(&kShapes);
  }
  static void end() { _tile_release(); }
#else
  static void begin() {}
  static void end() {}
#endif

  static int64_t row_values(int64_t width) { return kParts * width; }
  static int64_t right_values(int64_t rows) { return filled(rows) * 32 * kParts; }
  static int64_t transposed_values(int64_t rows, int64_t width) { return filled(rows) * width * kParts; }
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

  // The address of the first part of 32 numbers, those of row i from column `at` on.
  static uint16_t* place(uint16_t* rows, int64_t width, int64_t i, int64_t at) {
    return rows + (i / 16 * (width / 32) + at / 32) * kParts * kTile + i % 16 * 32;
  }

  static void put(const float* from, int64_t count, uint16_t* rows, int64_t width, int64_t i, int64_t at) {
    uint16_t* to = place(rows, width, i, at);
    for (int64_t j = 0; j < count; j += 32, to += kParts * kTile) {
      __m512i parts[kParts];
      if (j + 32 <= count) {
        split(load(from + j), load(from + j + 16), parts);
      } else {
        const uint32_t there = (1u << (count - j)) - 1;
        split(_mm512_maskz_loadu_ps(static_cast<__mmask16>(there), from + j),
              _mm512_maskz_loadu_ps(static_cast<__mmask16>(there >> 16), from + j + 16), parts);
      }
#pragma GCC unroll 3
      for (int p = 0; p < kParts; ++p) _mm512_store_si512(to + p * kTile, parts[p]);
    }
  }
  static void put(const uint16_t* from, int64_t count, uint16_t* rows, int64_t width, int64_t i, int64_t at) {
    uint16_t* to = place(rows, width, i, at);
    for (int64_t j = 0; j < count; j += 32, to += kTile) {  // one part
      const uint32_t there = j + 32 <= count ? ~0u : (1u << (count - j)) - 1;
      _mm512_store_si512(to, _mm512_maskz_loadu_epi16(there, from + j));
    }
  }
  static void put_zeros(int64_t count, uint16_t* rows, int64_t width, int64_t i, int64_t at) {
    uint16_t* const to = place(rows, width, i, at);
    for (int64_t j = 0; j < filled(count) * kParts; j += 32) _mm512_store_si512(to + j / 32 * kTile, __m512i{});
  }

  static Left left(const uint16_t* rows, int64_t width) { return {rows, width}; }

  static Right right(const uint16_t* data, int64_t rows, int64_t width, uint16_t* memory) {
    return {nullptr, filled(rows), data, width, rows, memory};
  }

  // The 32 columns from 32 * j on of `rows` -> tiles of a Right.
  static void pair(const uint16_t* rows, int64_t count, int64_t width, int64_t j, uint16_t* tiles) {
    const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37,
                                         5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    const int64_t tile_column = filled(count) * 16 * kParts;
    for (int64_t t = 0; t < filled(count); t += 16) {
      const uint16_t* from = rows + (t / 16 * (width / 32) + j) * kParts * kTile;
      for (int p = 0; p < kParts; ++p, from += kTile) {
        uint16_t* to = tiles + (t / 32 * kParts + p) * kTile + t % 32 * 16;
#pragma GCC unroll 8
        for (int64_t i = 0; i < 16; i += 2, to += 32) {
          const __m512i a = t + i < count ? _mm512_load_si512(from + i * 32) : __m512i{};
          const __m512i b = t + i + 1 < count ? _mm512_load_si512(from + i * 32 + 32) : __m512i{};
          _mm512_store_si512(to, _mm512_permutex2var_epi16(a, low, b));
          _mm512_store_si512(to + tile_column, _mm512_permutex2var_epi16(a, high, b));
        }
      }
    }
  }

  static Left transposed(const uint16_t* data, int64_t rows, int64_t width, uint16_t* memory) {
    const int64_t together = filled(rows) * 32 * kParts;
    for (int64_t j = 0; j < width / 32; ++j) {
      uint16_t* const tiles = memory + j * together;
      pair(data, rows, width, j, tiles);
      for (int64_t i = 0; i < together; i += kTile) transpose(tiles + i);
    }
    return {memory, filled(rows)};
  }

  static void pack(const Dense& weights, float* packed) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const float* from = weights.data;
    for (int64_t k = 0; k < weights.inner; k += 2, from += 2 * weights.columns) {
      uint16_t* line = reinterpret_cast<uint16_t*>(packed) + k / 32 * kParts * kTile + k % 32 * 16;
      for (int64_t j = 0; j < weights.columns; j += 16, line += weights.inner * 16 * kParts) {
        __m512i parts[kParts];
        split(load(from + j), load(from + weights.columns + j), parts);
#pragma GCC unroll 3
        for (int p = 0; p < kParts; ++p) {
          _mm512_store_si512(line + p * kTile, _mm512_permutexvar_epi16(order, parts[p]));
        }
      }
    }
  }
  static Right packed(const float* packed, int64_t inner) {
    return {reinterpret_cast<const uint16_t*>(packed), inner, nullptr, 0, 0, nullptr};
  }

  // M x 2 tiles of C from `inner` tiles of `a`, rows of tiles `a_row` apart, and `b`, whose columns are `b_column`
  // apart.
#if defined(__AMX_BF16__)
  template <int M>
  static void block(const uint16_t* a, int64_t a_row, const uint16_t* b, int64_t b_column, int64_t inner, float* c,
                    int64_t c_row, bool add) {
    const int64_t c_bytes = c_row * static_cast<int64_t>(sizeof(float));
    if (add) {
      _tile_loadd(0, c, c_bytes);
      _tile_loadd(1, c + 16, c_bytes);
      if constexpr (M == 2) _tile_loadd(2, c + 16 * c_row, c_bytes);
      if constexpr (M == 2) _tile_loadd(3, c + 16 * c_row + 16, c_bytes);
    } else {
      _tile_zero(0);
      _tile_zero(1);
      if constexpr (M == 2) _tile_zero(2);
      if constexpr (M == 2) _tile_zero(3);
    }
    const auto load_a = [&](int64_t k, int part) {
      const uint16_t* const from = a + (k * kParts + part) * kTile;
      _tile_loadd(4, from, 64);
      if constexpr (M == 2) _tile_loadd(5, from + a_row, 64);
    };
    const auto load_b = [&](int64_t k, int part) {
      const uint16_t* const from = b + (k * kParts + part) * kTile;
      _tile_loadd(6, from, 64);
      _tile_loadd(7, from + b_column, 64);
    };
    const auto products = [] {
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      if constexpr (M == 2) _tile_dpbf16ps(2, 5, 6);
      if constexpr (M == 2) _tile_dpbf16ps(3, 5, 7);
    };
    for (int64_t first = 0; first < inner; first += kSmallFirst) {
      const int64_t end = first + kSmallFirst < inner ? first + kSmallFirst : inner;
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
    _tile_stored(0, c, c_bytes);
    _tile_stored(1, c + 16, c_bytes);
    if constexpr (M == 2) _tile_stored(2, c + 16 * c_row, c_bytes);
    if constexpr (M == 2) _tile_stored(3, c + 16 * c_row + 16, c_bytes);
  }
#else
  // The same for the one part. A dot product adds two products to each of 16 sums: 8 rows x 2 vectors of sums hide its
  // latency of 6 cycles. They begin with zero, see kChain.
  template <int M>
  static void block(const uint16_t* a, int64_t a_row, const uint16_t* b, int64_t b_column, int64_t inner, float* c,
                    int64_t c_row, bool add) {
    static_assert(kParts == 1, "three parts need the matrix unit");
    constexpr int kRows = 8;
    for (int64_t first = 0; first < 16 * M; first += kRows) {
      const uint16_t* from = a + first / 16 * a_row + first % 16 * 32;
      __m512 sums[kRows][2] = {};
      for (int64_t k = 0; k < inner; ++k, from += kTile) {
        const uint16_t* columns = b + k * kTile;
        for (int64_t pair = 0; pair < 32; pair += 2, columns += 32) {
          const __m512bh left = (__m512bh)_mm512_load_si512(columns);
          const __m512bh right = (__m512bh)_mm512_load_si512(columns + b_column);
#pragma GCC unroll 8
          for (int i = 0; i < kRows; ++i) {
            int32_t both;
            memcpy(&both, from + i * 32 + pair, sizeof both);
            const __m512bh value = (__m512bh)_mm512_set1_epi32(both);
            sums[i][0] = _mm512_dpbf16_ps(sums[i][0], value, left);
            sums[i][1] = _mm512_dpbf16_ps(sums[i][1], value, right);
          }
        }
      }
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        float* const to = c + (first + i) * c_row;
        store(to, add ? load(to) + Vec(sums[i][0]) : Vec(sums[i][0]));
        store(to + 16, add ? load(to + 16) + Vec(sums[i][1]) : Vec(sums[i][1]));
      }
    }
  }
#endif

  // Three parts are summed in `strip` and then added to C: small parts would be lost beside a large C.
  static void multiply(const Left* lefts, int64_t count, const Right& right, int64_t rows, int64_t columns, float* c,
                       int64_t c_row, bool add, float* strip) {
    const int64_t row_tiles = (rows + 15) / 16, b_column = right.inner * 16 * kParts;
    const bool apart = add && kParts > 1;
    for (int64_t j = 0; j < columns / 32; ++j) {
      const bool made = right.rows != nullptr;
      if (made) pair(right.rows, right.count, right.width, j, right.memory);
      const uint16_t* b = made ? right.memory : right.data + 2 * j * b_column;
      float* const to = apart ? strip : c + 32 * j;
      const int64_t to_row = apart ? 32 : c_row;
      bool adds = add && !apart;
      settle_memory();
      for (const Left* left = lefts; left != lefts + count; ++left) {
        const int64_t a_row = left->inner * 16 * kParts, inner_tiles = left->inner / 32;
        for (int64_t k = 0; k < inner_tiles; k += kInnerTiles) {
          const int64_t inner = inner_tiles - k < kInnerTiles ? inner_tiles - k : kInnerTiles;
          for (int64_t m = 0; m < row_tiles; m += 2) {
            const auto run = m + 1 < row_tiles ? block<2> : block<1>;
            run(left->data + m * a_row + k * kParts * kTile, a_row, b, b_column, inner, to + 16 * m * to_row, to_row,
                adds);
          }
          b += inner * kParts * kTile;
          adds = true;
        }
      }
      settle_memory();
      for (int64_t i = 0; apart && i < rows; ++i) {
        float* const sums = c + i * c_row + 32 * j;
        store(sums, load(sums) + load(strip + 32 * i));
        store(sums + 16, load(sums + 16) + load(strip + 32 * i + 16));
      }
    }
  }
};

}  // namespace
}  // namespace fw::cpu::FW_ISA

#endif
