// Vectors of floats for one instruction set, and the functions of them that a WaveNet needs.
// Written with the compiler's vectors, so that one text serves SSE2, AVX2, AVX-512 and NEON.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fw::cpu::FW_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int64_t kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int64_t kVectorBytes = 32;
#else
constexpr int64_t kVectorBytes = 16;
#endif
constexpr int64_t kLanes = kVectorBytes / 4;

// Products that are summed from zero before their sum joins the result. An addition rounds at the size of its sum, and
// 500 in one chain were twice as far from float64 as PyTorch's. A panel of a matrix of this length is 32 KB, which the
// first level of the cache holds.
constexpr int64_t kChain = 128;

typedef float Vec __attribute__((vector_size(kVectorBytes)));
typedef int32_t Ints __attribute__((vector_size(kVectorBytes)));
typedef uint32_t Words __attribute__((vector_size(kVectorBytes)));

inline Vec load(const float* from) {  // from anywhere: a caller's tensor need not be aligned
  Vec v;
  memcpy(&v, from, sizeof v);
  return v;
}

inline Words load_words(const void* from) {
  Words v;
  memcpy(&v, from, sizeof v);
  return v;
}

inline void store(float* to, Vec v) {
  memcpy(to, &v, sizeof v);
}

inline Vec fill(float value) {  // not Vec{} + value: 0 + x is an addition that no compiler may leave out
#if defined(__AVX512F__)
  return Vec(_mm512_set1_ps(value));
#elif defined(__AVX2__)
  return Vec(_mm256_set1_ps(value));
#else
  return Vec{value, value, value, value};
#endif
}

inline Vec multiply_add(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__)
  return Vec(_mm512_fmadd_ps(a, b, c));
#elif defined(__FMA__)
  return Vec(_mm256_fmadd_ps(a, b, c));
#else
  return a * b + c;
#endif
}

// NaN stays NaN in these three, or a broken network would go on in silence.
inline Vec relu(Vec x) {
  return x < Vec{} ? Vec{} : x;
}

inline Vec at_most(float bound, Vec x) {
  return fill(bound) < x ? fill(bound) : x;
}

inline Vec at_least(float bound, Vec x) {
  return fill(bound) > x ? fill(bound) : x;
}

inline Vec to_floats(Ints v) {
  return __builtin_convertvector(v, Vec);
}

// e^x = power * (1 + part), with power = 2^n and |part| < 0.42: exact enough for e^x - 1 near zero too.
struct Exponential {
  Vec power, part;
};

// The polynomial is a minimax fit of (e^r - 1 - r) / r^2 over half of ln 2, weighted for 3e-9 of e^r.
inline Exponential exponential(Vec x) {   // |x| <= 87
  const Vec rounder = fill(12582912.0f);  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const Vec shifted = multiply_add(x, fill(1.44269504f), rounder);
  const Vec n = shifted - rounder;
  // ln 2 in two parts, the first with 9 bits, so that its multiples are exact
  const Vec r = multiply_add(n, fill(2.12194440e-4f), multiply_add(n, fill(-0.693359375f), x));
  Vec p = fill(0.00138145988f);
  p = multiply_add(p, r, fill(0.00836871658f));
  p = multiply_add(p, r, fill(0.041668389f));
  p = multiply_add(p, r, fill(0.166665211f));
  p = multiply_add(p, r, fill(0.49999994f));
  const Vec part = multiply_add(p, r * r, r);
  Words bits;
  memcpy(&bits, &shifted, sizeof bits);
  bits = (bits << 23) + 0x3f800000u;  // the low bits of `shifted` are n: they become the exponent of 2^n
  Vec power;
  memcpy(&power, &bits, sizeof power);
  return {power, part};
}

// tanh(a) and sigmoid(b), of which a layer takes the product z: (e^2a - 1) / (e^2a + 1) and 1 / (1 + e^-b).
struct TanhSigmoid {
  Vec tanh, sigmoid;
};

struct GateTerms {
  Vec less_one, plus_one, one_plus;  // e^2a - 1, e^2a + 1, 1 + e^-b
};

inline GateTerms gate_terms(Vec a, Vec b) {
  const Vec twice = at_most(20, at_least(-20, a + a));  // tanh(10) is 1 in float32
  const Vec minus = at_most(60, at_least(-60, -b));     // e^60 * e^20 is still far from overflow
  const Exponential ea = exponential(twice), eb = exponential(minus);
  const Vec less_one = multiply_add(ea.power, ea.part, ea.power - 1.0f);
  return {less_one, less_one + 2.0f, multiply_add(eb.power, eb.part, eb.power + 1.0f)};
}

// z, with one division.
inline Vec gated(Vec a, Vec b) {
  const GateTerms t = gate_terms(a, b);
  return t.less_one / (t.plus_one * t.one_plus);
}

// Both factors, with one division.
inline TanhSigmoid tanh_sigmoid_of(Vec a, Vec b) {
  const GateTerms t = gate_terms(a, b);
  const Vec inverse = 1.0f / (t.plus_one * t.one_plus);
  return {t.less_one * (t.one_plus * inverse), t.plus_one * inverse};
}

// e^x for x <= 0; zero below the smallest normal number.
inline Vec decay(Vec x) {
  const Exponential e = exponential(at_least(-87, x));
  const Vec value = multiply_add(e.power, e.part, e.power);
  return x < fill(-87.0f) ? Vec{} : value;
}

inline float largest_lane(Vec v) {
  float most = v[0];
  for (int64_t lane = 1; lane < kLanes; ++lane) most = v[lane] > most ? v[lane] : most;
  return most;
}

inline float sum_of_lanes(Vec v) {
  float sum = v[0];
  for (int64_t lane = 1; lane < kLanes; ++lane) sum += v[lane];
  return sum;
}

}  // namespace
}  // namespace fw::cpu::FW_ISA
