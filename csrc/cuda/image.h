// An engine's device memory, built on the host.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace fw::cuda {

// Places are distances from its beginning until it has an address.
class Image {
 public:
  template <class Value>
  Value* take(int64_t count) {
    const size_t begin = (bytes_.size() + 255) / 256 * 256;  // 256: a warp's loads never straddle a line needlessly
    bytes_.resize(begin + static_cast<size_t>(count) * sizeof(Value));
    return reinterpret_cast<Value*>(begin);
  }
  template <class Value>
  Value* here(const Value* at) {
    return reinterpret_cast<Value*>(bytes_.data() + reinterpret_cast<size_t>(at));
  }
  const std::vector<char>& bytes() const { return bytes_; }

 private:
  std::vector<char> bytes_ = std::vector<char>(256);  // so that no place is null
};

inline uint16_t to_bfloat16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);  // to the nearest, ties to even
}

// A view of weights [in, out] whose rows and columns are groups of `narrow` filled up to `wide` with zeros.
struct Source {
  const float* weights;
  int64_t narrow_in, wide_in, narrow_out, wide_out, columns;

  float operator()(int64_t i, int64_t j) const {
    const int64_t row = i / wide_in * narrow_in + i % wide_in, column = j / wide_out * narrow_out + j % wide_out;
    const bool real = i % wide_in < narrow_in && j % wide_out < narrow_out && column < columns;
    return real ? weights[row * columns + column] : 0.0f;
  }
};

// `count` numbers, groups of `narrow` filled up to `wide` with zeros.
inline void fill_groups(float* to, const float* from, int64_t narrow, int64_t wide, int64_t count) {
  for (int64_t j = 0; j < count; ++j) to[j] = j % wide < narrow ? from[j / wide * narrow + j % wide] : 0.0f;
}

}  // namespace fw::cuda
