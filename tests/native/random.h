// Random numbers from a seed, the same on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fw_test {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  size_t below(size_t count) { return static_cast<size_t>(next() % count); }
  int64_t within(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(below(static_cast<size_t>(high - low + 1)));
  }
  // Uniform from -size up to size.
  float value(float size) { return size * (static_cast<float>(next() >> 40) * 0x1p-23f - 1); }
  std::vector<float> values(int64_t count, float size) {
    std::vector<float> made(static_cast<size_t>(count));
    for (float& each : made) each = value(size);
    return made;
  }

 private:
  uint64_t next() {  // splitmix64
    uint64_t z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
  }
  uint64_t state_;
};

}  // namespace fw_test
