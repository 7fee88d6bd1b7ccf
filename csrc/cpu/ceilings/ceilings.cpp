// What one core can do at most, measured. Benches print a speed as a share of it.
// Compiled once per instruction set; see cpu/isa.h for what may be included here.
#include "cpu/ceilings/ceilings.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

namespace fw::cpu::FW_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kChains = 24;  // sums in 24 of 32 registers; 2 units x 4 cycles of latency need 8
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
constexpr int kChains = 12;  // of 16 registers; 2 units x 4 or 5 cycles of latency need 10
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16;
constexpr int kChains = 24;  // of 32 registers; 4 units x 4 cycles of latency need 16
#else
constexpr int kVectorBytes = 16;
constexpr int kChains = 12;  // of 16 registers; multiply, then add: 2 units x 8 cycles
#endif

typedef float Floats __attribute__((vector_size(kVectorBytes)));
typedef uint64_t Words __attribute__((vector_size(kVectorBytes), may_alias));

uint64_t read(const void* data, int64_t bytes) {
  constexpr int kSums = 8;  // 512 bytes a round with 64-byte vectors; additions never wait for each other
  const Words* next = static_cast<const Words*>(data);
  const Words* const end = next + bytes / kVectorBytes;
  Words sums[kSums] = {};
  for (; next != end; next += kSums) {
#pragma GCC unroll 8
    for (int i = 0; i < kSums; ++i) sums[i] += next[i];
  }
  Words sum = sums[0];
#pragma GCC unroll 8
  for (int i = 1; i < kSums; ++i) sum += sums[i];
  uint64_t total = 0;
  for (int lane = 0; lane < kVectorBytes / 8; ++lane) total += sum[lane];
  return total;
}

// kChains sums, each waiting only for itself. They start with different values, or the compiler would compute one of
// them for all; and every loop over them is unrolled, or GCC would keep them in memory.
template <class Sum, class Lane, class Step>
Lane chains(int64_t rounds, Step step) {
  Sum sums[kChains];
#pragma GCC unroll 24
  for (int i = 0; i < kChains; ++i) sums[i] = Sum{} + static_cast<Lane>(i);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) sums[i] = step(sums[i]);
  }
  Sum total = sums[0];
#pragma GCC unroll 24
  for (int i = 1; i < kChains; ++i) total += sums[i];
  return total[0];
}

double multiply_add_float32(int64_t rounds) {
  const Floats half = Floats{} + 0.5f;  // sum = sum / 2 + 1/2 tends to 1: never denormal, never infinite
  return chains<Floats, float>(rounds, [half](Floats sum) {
#if defined(__AVX512F__)
    return Floats(_mm512_fmadd_ps(sum, half, half));
#elif defined(__FMA__)
    return Floats(_mm256_fmadd_ps(sum, half, half));
#else
    return sum * half + half;  // fused on ARM, two instructions on SSE2
#endif
  });
}

#if defined(__AVX512BF16__)
double multiply_add_bfloat16(int64_t rounds) {
  const __m512bh tiny = (__m512bh)_mm512_set1_epi16(0x3400);  // 2^-23 as bfloat16: sums stay far from infinity
  return chains<__m512, float>(rounds, [tiny](__m512 sum) { return _mm512_dpbf16_ps(sum, tiny, tiny); });
}
#endif

#if defined(__AVX512VNNI__)
double multiply_add_int8(int64_t rounds) {
  // Sums of 32-bit lanes, not __m512i: GCC 12 copies and spills those, and 470 Gop/s were measured where 860 are
  // possible.
  typedef uint32_t Integers __attribute__((vector_size(64)));
  const __m512i ones = _mm512_set1_epi8(1);
  const auto step = [ones](Integers sum) { return Integers(_mm512_dpbusd_epi32(__m512i(sum), ones, ones)); };
  return chains<Integers, uint32_t>(rounds, step);
}
#elif defined(__ARM_FEATURE_DOTPROD)
double multiply_add_int8(int64_t rounds) {
  typedef uint32_t Integers __attribute__((vector_size(16)));
  const int8x16_t ones = vdupq_n_s8(1);
  const auto step = [ones](Integers sum) { return Integers(vdotq_s32(int32x4_t(sum), ones, ones)); };
  return chains<Integers, uint32_t>(rounds, step);
}
#endif

}  // namespace

extern const Ceilings ceilings;
const Ceilings ceilings = {
    read,
    {
        multiply_add_float32,
#if defined(__AVX512BF16__)
        multiply_add_bfloat16,
#else
        nullptr,
#endif
#if defined(__AVX512VNNI__) || defined(__ARM_FEATURE_DOTPROD)
        multiply_add_int8,
#else
        nullptr,
#endif
    },
    {
        2 * kChains * (kVectorBytes / 4),
        2 * kChains * (kVectorBytes / 2),
        2 * kChains * kVectorBytes,
    },
};

}  // namespace fw::cpu::FW_ISA
