// y = init + W^T x for packed W, for one stream or several that share each weight read.
//
// Every output is added up in the same order, whatever the number of streams or the cut into panels: a stream gets the
// same bits alone and beside others.
#pragma once

#include "cpu/generation/engine.h"
#include "cpu/simd.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace fw::cpu::FW_ISA {
namespace {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kMostStreams = 6;  // 6 x 4 sums, 4 weights and an input are 29 of 32 registers
#else
constexpr int kMostStreams = 3;  // 3 x 4 sums, 3 inputs and a weight are all 16 registers
#endif

// How int8 multiplies. Sums are whole numbers, and the same in every way.
#if defined(__aarch64__) && !defined(__ARM_FEATURE_DOTPROD)
constexpr bool kPairedSums = true;  // two registers of sums, which one addition of pairs makes one
#else
constexpr bool kPairedSums = false;
#endif
#if defined(__AVX512F__) || defined(__ARM_FEATURE_DOTPROD)
constexpr int kMostStreamsInt8 = 3;  // int8 has twice the sums
#else
constexpr int kMostStreamsInt8 = 1;
#endif

// Bytes from a weight to the one that is prefetched.
constexpr int64_t kAhead = 4096;  // 2 KB is too near for a batch of 16 (12% slower), 16 KB too far for 1 (9%)

struct Float32 {
  static constexpr int64_t kRows = 1;            // inputs whose weights share a packed row
  static constexpr int kStreams = kMostStreams;  // that share each weight read, at most
  static constexpr int kVectors = kPanel;        // of outputs in one pass over the inputs of one stream
  static constexpr int kSums = 1;                // of an output; int8: of high and of low bytes
};

struct Bfloat16 {
  static constexpr int64_t kRows = 2;
  static constexpr int kStreams = kMostStreams;
  static constexpr int kVectors = kPanel;
  static constexpr int kSums = 1;
};

struct Int8 {
  static constexpr int64_t kRows = 4;
  static constexpr int kStreams = kMostStreamsInt8;
  static constexpr int kVectors = kPairedSums ? kPanel / 2 : kPanel;
  static constexpr int kSums = 2;
};

struct Operands {
  const float* x;
  int64_t x_stride;
  const uint8_t* bytes;  // int8: per stream, all high bytes, then all low bytes
  int64_t bytes_stride;
  const float* steps;  // int8: per stream, what one unit of `bytes` is worth
  const float* init;
  int64_t init_stride;
  float* y;
  int64_t y_stride;
};

// Weights are contiguous, matrix after matrix: fetching beyond the end of one matrix fetches the next one.
template <int V>
inline void prefetch(const char* weights) {
#pragma GCC unroll 8
  for (int64_t byte = 0; byte < V * kVectorBytes; byte += 64) __builtin_prefetch(weights + kAhead + byte);
}

// V vectors of outputs, from output `at` on, for M streams; rows of the panel are `row` bytes apart.
template <class Type, int V, int M>
inline void block_float(const char* weights, int64_t row, const Matrix& m, const Operands& o, int64_t at) {
  for (int64_t begin = 0; begin < m.in; begin += kChain) {
    const int64_t end = begin + kChain < m.in ? begin + kChain : m.in;
    Vec sums[M][V] = {};
    for (int64_t i = begin; i < end; i += Type::kRows, weights += row) {
      prefetch<V>(weights);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        const Words word = load_words(weights + v * kVectorBytes);
        if (Type::kRows == 2) {
          const Vec low = Vec(word << 16), high = Vec(word);
#pragma GCC unroll 8
          for (int s = 0; s < M; ++s) {
            const float* x = o.x + s * o.x_stride + i;
            sums[s][v] = multiply_add(low, fill(x[0]), sums[s][v]);
            sums[s][v] = multiply_add(high, fill(x[1]), sums[s][v]);
          }
        } else {
#pragma GCC unroll 8
          for (int s = 0; s < M; ++s) {
            sums[s][v] = multiply_add(Vec(word), fill(o.x[s * o.x_stride + i]), sums[s][v]);
          }
        }
      }
    }
#pragma GCC unroll 8
    for (int s = 0; s < M; ++s) {
      const float* init = begin == 0 ? o.init + s * o.init_stride : o.y + s * o.y_stride;
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        const int64_t j = at + v * kLanes;
        store(o.y + s * o.y_stride + j, load(init + j) + sums[s][v]);
      }
    }
  }
}

// A word of weights is used twice, and GCC would load it for each use, although loads are what limits this loop.
inline void keep_in_register(Words& word) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(word));
#else
  (void)word;
#endif
}

// Bytes of the inputs, as many as a product takes from one register: the four of a packed row, or of several rows.
#if defined(__ARM_FEATURE_DOTPROD)
typedef int8x16_t InputBytes;  // sdot picks four of sixteen, so that they need not be copied to every lane
#else
typedef uint32_t InputBytes;
#endif
constexpr int64_t kInputRows = sizeof(InputBytes) / 4;

// NEON multiplies signed bytes with signed ones. Inputs are then 128 less, which is taken back in whole numbers.
#if defined(__aarch64__)
constexpr bool kSignedInputs = true;
#else
constexpr bool kSignedInputs = false;
#endif

#if defined(__aarch64__) && !defined(__ARM_FEATURE_DOTPROD)
struct Sums {
  int32x4_t first = {}, second = {};  // of the first two outputs and of the last two, each in two parts
};
inline Words total(const Sums& sums) {
  return Words(vpaddq_s32(sums.first, sums.second));
}
#else
typedef Words Sums;
inline Words total(Sums sums) {
  return sums;
}
#endif

// sums + the four products of a word of weights with the bytes of a packed row
template <int Row>
inline Sums dot4(Sums sum, InputBytes bytes, Words word) {
#if defined(__ARM_FEATURE_DOTPROD)
  return Words(vdotq_laneq_s32(int32x4_t(sum), int8x16_t(word), bytes, Row));
#elif defined(__aarch64__)
  const int8x16_t four = vreinterpretq_s8_u32(vdupq_n_u32(bytes)), weights = int8x16_t(word);
  sum.first = vpadalq_s16(sum.first, vmull_s8(vget_low_s8(weights), vget_low_s8(four)));
  sum.second = vpadalq_s16(sum.second, vmull_high_s8(weights, four));
  return sum;
#elif defined(__AVX512VNNI__)
  return Words(_mm512_dpbusd_epi32(__m512i(sum), __m512i(Words{} + bytes), __m512i(word)));
#else
#pragma GCC unroll 4
  for (int byte = 0; byte < 4; ++byte) {
    const Ints weight = Ints(word << (24 - 8 * byte)) >> 24;
    sum += Words(weight * static_cast<int32_t>(bytes >> 8 * byte & 255));
  }
  return sum;
#endif
}

// The products of packed rows with the high and the low bytes of M streams, from row `Row` of `bytes` on.
template <int V, int M, int Row = 0>
inline void add_rows(const char* weights, int64_t row, const InputBytes (&bytes)[M][2], Sums (&high)[M][V],
                     Sums (&low)[M][V]) {
  prefetch<V>(weights);
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) {
    Words word = load_words(weights + v * kVectorBytes);
    keep_in_register(word);
#pragma GCC unroll 8
    for (int s = 0; s < M; ++s) {
      high[s][v] = dot4<Row>(high[s][v], bytes[s][0], word);
      low[s][v] = dot4<Row>(low[s][v], bytes[s][1], word);
    }
  }
  if constexpr (Row + 1 < kInputRows) add_rows<V, M, Row + 1>(weights + row, row, bytes, high, low);
}

template <class Type, int V, int M>
inline void block_int8(const char* weights, int64_t row, const Matrix& m, const Operands& o, int64_t at) {
  Sums high[M][V] = {}, low[M][V] = {};
  for (int64_t i = 0; i < m.in; i += 4 * kInputRows, weights += kInputRows * row) {
    InputBytes bytes[M][2];
#pragma GCC unroll 8
    for (int s = 0; s < M; ++s) {
      memcpy(&bytes[s][0], o.bytes + s * o.bytes_stride + i, sizeof(InputBytes));
      memcpy(&bytes[s][1], o.bytes + s * o.bytes_stride + m.in + i, sizeof(InputBytes));
    }
    add_rows<V, M>(weights, row, bytes, high, low);
  }
#pragma GCC unroll 8
  for (int s = 0; s < M; ++s) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      const int64_t j = at + v * kLanes;
      const Words offset = load_words(m.offset + j);
      const Words highs = kSignedInputs ? total(high[s][v]) : total(high[s][v]) - offset;
      const Words lows = kSignedInputs ? total(low[s][v]) + offset : total(low[s][v]);
      const Vec sum = multiply_add(to_floats(Ints(highs)), fill(256), to_floats(Ints(lows)));
      const Vec init = load(o.init + s * o.init_stride + j);
      store(o.y + s * o.y_stride + j, multiply_add(sum, load(m.scale + j) * o.steps[s], init));
    }
  }
}

template <class Type, int V, int M>
inline void block(const char* weights, int64_t row, const Matrix& m, const Operands& o, int64_t at) {
  if constexpr (Type::kSums == 2) {
    block_int8<Type, V, M>(weights, row, m, o, at);
  } else {
    block_float<Type, V, M>(weights, row, m, o, at);
  }
}

template <class Type, int V>
void one_stream(int64_t vectors, const char* weights, int64_t row, const Matrix& m, const Operands& o, int64_t at) {
  if (Type::kVectors == kPanel) row = vectors * kVectorBytes;  // then known to the compiler
  if (vectors == V) return block<Type, V, 1>(weights, row, m, o, at);
  if constexpr (V > 1) one_stream<Type, V - 1>(vectors, weights, row, m, o, at);
}

template <class Type, int V, int M>
void some_streams(int64_t streams, const char* weights, int64_t row, const Matrix& m, const Operands& o, int64_t at) {
  if (streams == M) return block<Type, V, M>(weights, row, m, o, at);
  if constexpr (M > 1) some_streams<Type, V, M - 1>(streams, weights, row, m, o, at);
}

template <class Type, int V>
void many_streams(int64_t vectors, int64_t streams, const char* weights, int64_t row, const Matrix& m,
                  const Operands& all, int64_t at) {
  if (vectors != V) {
    if constexpr (V > 1) many_streams<Type, V - 1>(vectors, streams, weights, row, m, all, at);
    return;
  }
  const int64_t groups = (streams + Type::kStreams - 1) / Type::kStreams;
  for (int64_t group = 0, first = 0; group < groups; ++group) {  // groups as even as they can be: 16 = 6 + 5 + 5
    const int64_t count = (streams - first + groups - group - 1) / (groups - group);
    Operands o = all;
    o.x += first * o.x_stride;
    o.bytes += first * o.bytes_stride;
    o.steps += first;
    o.init += first * o.init_stride;
    o.y += first * o.y_stride;
    some_streams<Type, V, Type::kStreams>(count, weights, row, m, o, at);
    first += count;
  }
}

template <class Type>
void multiply_as(const Matrix& m, const Operands& o, int64_t streams) {
  const int64_t vectors = m.out / kLanes;
  const char* weights = static_cast<const char*>(m.weights);
  for (int64_t begin = 0; begin < vectors; begin += kPanel) {
    const int64_t wide = vectors - begin < kPanel ? vectors - begin : kPanel;
    const int64_t row = wide * kVectorBytes;
    const int64_t together = streams == 1 ? Type::kVectors : 4;
    for (int64_t v = 0; v < wide; v += together) {
      const int64_t part = wide - v < together ? wide - v : together, at = (begin + v) * kLanes;
      const char* const first = weights + v * kVectorBytes;
      if (streams == 1) {
        one_stream<Type, Type::kVectors>(part, first, row, m, o, at);
      } else {
        many_streams<Type, 4>(part, streams, first, row, m, o, at);
      }
    }
    weights += row * (m.in / Type::kRows);
  }
}

// A vector of numbers, x * inverse + 32768, to the nearest one that 16 bits hold.
inline Words level_of(const float* x, Vec inverse) {
  const Vec level = multiply_add(load(x), inverse, fill(32768.5f));  // positive: conversion rounds down
  return Words(__builtin_convertvector(level, Ints));
}

// Writes x [in] as 16-bit numbers, x = step * (256 * high + low - 32768): all high bytes, then all low ones; both less
// 128 where inputs are signed. Returns `step`, or NaN where an input is not finite. Weights have 8 bits. 16 bits of
// activation cost a second product on the same weights; then only the rounding of the weights costs accuracy.
inline float quantise(const float* x, int64_t in, uint8_t* bytes) {
  Vec most = {}, zeros = {};
  for (int64_t i = 0; i < in; i += kLanes) {
    const Vec v = load(x + i), size = v < Vec{} ? -v : v;
    most = most < size ? size : most;
    zeros += v * 0.0f;  // NaN where an input is not finite: comparisons would lose it
  }
  const float largest = largest_lane(most), broken = sum_of_lanes(zeros);
  const float step = largest > 0 ? largest / 32767 : 1;
  const Vec inverse = fill(broken == 0 ? 1 / step : 0);
#if defined(__aarch64__)
  // by hand: GCC converts four words to bytes one by one
  const uint8x16_t less = vdupq_n_u8(kSignedInputs ? 128 : 0);
  for (int64_t i = 0; i < in; i += 16) {
    uint16x8_t halves[2];
    for (int64_t h = 0; h < 2; ++h) {
      const Words first = level_of(x + i + 8 * h, inverse), second = level_of(x + i + 8 * h + 4, inverse);
      halves[h] = vuzp1q_u16(vreinterpretq_u16_u32(uint32x4_t(first)), vreinterpretq_u16_u32(uint32x4_t(second)));
    }
    const uint8x16_t low_first = vreinterpretq_u8_u16(halves[0]), low_second = vreinterpretq_u8_u16(halves[1]);
    vst1q_u8(bytes + i, veorq_u8(vuzp2q_u8(low_first, low_second), less));
    vst1q_u8(bytes + in + i, veorq_u8(vuzp1q_u8(low_first, low_second), less));
  }
#else
  typedef uint8_t Bytes __attribute__((vector_size(kLanes)));
  for (int64_t i = 0; i < in; i += kLanes) {
    const Words level = level_of(x + i, inverse);
    const Bytes high = __builtin_convertvector(level >> 8, Bytes), low = __builtin_convertvector(level & 255, Bytes);
    memcpy(bytes + i, &high, sizeof high);
    memcpy(bytes + in + i, &low, sizeof low);
  }
#endif
  return step + broken;
}

// y = init + W^T x; rows of streams are strides apart. `init` may be `y`.
inline void multiply(const Matrix& m, const Scratch& scratch, const float* x, int64_t x_stride, const float* init,
                     int64_t init_stride, float* y, int64_t y_stride, int64_t streams) {
  Operands o = {x, x_stride, scratch.bytes, 2 * m.in, scratch.steps, init, init_stride, y, y_stride};
  switch (m.type) {
    case FW_BFLOAT16:
      return multiply_as<Bfloat16>(m, o, streams);
    case FW_INT8:
      for (int64_t s = 0; s < streams; ++s) {
        scratch.steps[s] = quantise(x + s * x_stride, m.in, scratch.bytes + s * o.bytes_stride);
      }
      return multiply_as<Int8>(m, o, streams);
    default:
      return multiply_as<Float32>(m, o, streams);
  }
}

}  // namespace
}  // namespace fw::cpu::FW_ISA
