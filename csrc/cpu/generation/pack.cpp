#include "cpu/generation/pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "bfloat16.h"

namespace fw::cpu {
namespace {

// Rows of W that share a 32-bit word.
int64_t rows_of(int32_t type) {
  return type == FW_INT8 ? 4 : type == FW_BFLOAT16 ? 2 : 1;
}

uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Two weights in a word. To save an instruction, the kernel takes the whole word as the second weight, with the first
// one in its low half. So the high half is chosen such that the whole word is nearest to the second weight, which is as
// close as ordinary rounding. Infinity and NaN are rounded by themselves.
uint32_t pair(float first, float second) {
  const uint32_t low = to_bfloat16(first);
  if (!std::isfinite(second)) return static_cast<uint32_t>(to_bfloat16(second)) << 16 | low;
  const uint32_t down = (bits_of(second) & 0xffff0000u) | low;
  uint32_t best = down;
  for (const uint32_t candidate : {down - 0x10000u, down + 0x10000u}) {
    const float value = float_of(candidate);
    if (std::isfinite(value) && std::fabs(value - second) < std::fabs(float_of(best) - second)) best = candidate;
  }
  return best;
}

// What one unit of column j is worth; NaN where one of its weights is not finite: then the output is not finite either.
float int8_step(int64_t in, int64_t j, const PaddedMatrix& source) {
  float most = 0;
  for (int64_t i = 0; i < in; ++i) {
    const float size = std::fabs(source(i, j));
    if (!std::isfinite(size)) return NAN;
    most = std::max(most, size);
  }
  return most > 0 ? most / 127 : 1;
}

int64_t panel_width(int64_t out, int64_t begin, int64_t lanes) {
  return std::min(out - begin, kPanel * lanes);
}

// The index of the word that holds W[i, j].
int64_t word_index(int64_t in, int64_t out, int32_t type, int64_t lanes, int64_t i, int64_t j) {
  const int64_t begin = j / (kPanel * lanes) * (kPanel * lanes), rows = rows_of(type);
  return begin * (in / rows) + i / rows * panel_width(out, begin, lanes) + j - begin;
}

}  // namespace

int64_t packed_bytes(int64_t in, int64_t out, int32_t type) {
  return in / rows_of(type) * out * 4;
}

void pack(Matrix& m, int64_t lanes, const PaddedMatrix& source, void* weights, float* scale, int32_t* offset) {
  const int32_t type = m.type;
  auto* words = static_cast<uint32_t*>(weights);
  m.weights = weights;
  m.scale = scale;
  m.offset = offset;
  for (int64_t j = 0; j < m.out; ++j) {
    const float step = type == FW_INT8 ? int8_step(m.in, j, source) : 1;
    int32_t sum = 0;
    for (int64_t i = 0; i < m.in; i += rows_of(type)) {
      uint32_t word = 0;
      if (type == FW_INT8) {
        for (int64_t k = 0; k < 4; ++k) {
          const auto level = std::isfinite(step) ? static_cast<int32_t>(std::lrint(source(i + k, j) / step)) : 0;
          sum += level;
          word |= static_cast<uint32_t>(level & 255) << (8 * k);
        }
      } else {
        word = type == FW_BFLOAT16 ? pair(source(i, j), source(i + 1, j)) : bits_of(source(i, j));
      }
      words[word_index(m.in, m.out, type, lanes, i, j)] = word;
    }
    if (type == FW_INT8) {
      scale[j] = step;
      offset[j] = 128 * sum;
    }
  }
}

}  // namespace fw::cpu
