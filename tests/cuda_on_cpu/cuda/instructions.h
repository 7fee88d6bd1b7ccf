// csrc/cuda/instructions.h without a GPU: the same functions, which may be got wrong in the same ways.
#pragma once

#include <cuda_runtime.h>
#include <stdint.h>

namespace on_cpu {

struct Tile {  // of one lane
  float4* sums;
  const uint4* weights;
  const uint2* inputs;
};

typedef float Streams __attribute__((vector_size(8 * sizeof(float))));

inline float low_half(uint32_t pair) {
  return __uint_as_float(pair << 16);
}
inline float high_half(uint32_t pair) {
  return __uint_as_float(pair & 0xFFFF0000);
}

// Products of bfloat16 are exact in float32; the sums are rounded there, in the order of the inputs.
inline void multiply_tiles(Tile** lanes) {
  float weights[16][16];
  Streams inputs[16], sums[16];
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, c = lane % 4;
    const uint4& w = *lanes[lane]->weights;
    const uint2& x = *lanes[lane]->inputs;
    const float4& s = *lanes[lane]->sums;
    const uint32_t pairs[2][2] = {{w.x, w.z}, {w.y, w.w}}, input_pairs[2] = {x.x, x.y};
    const float held[2][2] = {{s.x, s.y}, {s.z, s.w}};
    for (int half = 0; half < 2; ++half) {
      for (int part = 0; part < 2; ++part) {
        weights[g + 8 * half][2 * c + 8 * part] = low_half(pairs[half][part]);
        weights[g + 8 * half][2 * c + 8 * part + 1] = high_half(pairs[half][part]);
        sums[g + 8 * half][2 * c + part] = held[half][part];
      }
      inputs[2 * c + 8 * half][g] = low_half(input_pairs[half]);
      inputs[2 * c + 8 * half + 1][g] = high_half(input_pairs[half]);
    }
  }
  for (int output = 0; output < 16; ++output) {
    for (int input = 0; input < 16; ++input) sums[output] += weights[output][input] * inputs[input];
  }
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, c = lane % 4;
    *lanes[lane]->sums = {sums[g][2 * c], sums[g][2 * c + 1], sums[g + 8][2 * c], sums[g + 8][2 * c + 1]};
  }
}

inline uint32_t nearest_bfloat16(float value) {
  if (std::isnan(value)) return 0x7FFF;
  const uint32_t bits = __float_as_uint(value);
  return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}

}  // namespace on_cpu

namespace fw::cuda {

inline void multiply_tile(float4& sums, const uint4& weights, const uint2& inputs, const char* file = __builtin_FILE(),
                          int line = __builtin_LINE()) {
  on_cpu::Tile tile{&sums, &weights, &inputs};
  on_cpu::meet("multiply_tile", on_cpu::kAllLanes, &tile, on_cpu::multiply_tiles, {file, line});
}

inline float gated(float filter, float gate) {
  return std::tanh(filter) / (1 + std::exp(-gate));
}

inline uint32_t to_bfloat16_pair(float low, float high) {
  return on_cpu::nearest_bfloat16(high) << 16 | on_cpu::nearest_bfloat16(low);
}

struct Signal {
  uint64_t word;

  void prepare(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    on_cpu::prepare_signal(&word, file, line);
  }
  void expect(uint32_t bytes, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    on_cpu::expect_bytes(&word, bytes, file, line);
  }
  void wait(uint32_t phase, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    on_cpu::wait_for_phase(&word, phase, file, line);
  }
};

__attribute__((always_inline)) inline void put(void* own, Signal* signal, uint32_t rank, uint32_t value,
                                               const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  on_cpu::put_message(own, &signal->word, rank, value, sizeof value, file, line);
}

__attribute__((always_inline)) inline void put(void* own, Signal* signal, uint32_t rank, float2 value,
                                               const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  on_cpu::put_message(own, &signal->word, rank, bits, sizeof value, file, line);
}

inline void put(void* own, Signal* signal, uint32_t rank, uint2 value, const char* file = __builtin_FILE(),
                int line = __builtin_LINE()) {
  on_cpu::put_message(own, &signal->word, rank, uint64_t{value.y} << 32 | value.x, sizeof value, file, line);
}

inline uint32_t rank_in_cluster() {
  return on_cpu::rank_in_cluster();
}

inline void cluster_barrier(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  on_cpu::cluster_arrive(file, line, true);
  on_cpu::cluster_wait(file, line);
}

inline void barrier_of(int id, int threads, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  on_cpu::named_barrier(id, threads, file, line);
}

}  // namespace fw::cuda
