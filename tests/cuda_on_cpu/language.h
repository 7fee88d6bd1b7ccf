// The language: what CUDA C++ has beyond C++, for the compiler of the CPU.
#pragma once

#include <cmath>

#include "barriers.h"

namespace on_cpu {

inline void* dynamic_shared() {
  const Unwatched unwatched;
  return block->shared;
}

// threadIdx and the like: objects whose x, y and z ask.
template <unsigned (*kAsk)(int)>
struct Index {
  template <int kAxis>
  struct Axis {
    operator unsigned() const {
      const Unwatched unwatched;
      return kAsk(kAxis);
    }
  };
  Axis<0> x;
  Axis<1> y;
  Axis<2> z;
};
template <class Three>
unsigned axis_of(const Three& three, int axis) {
  return axis == 0 ? three.x : axis == 1 ? three.y : three.z;
}
inline unsigned thread_index(int axis) {
  return axis_of(fiber->thread, axis);
}
inline unsigned block_index(int axis) {
  return axis_of(block->index, axis);
}
inline unsigned block_size(int axis) {
  return axis_of(block->launch.threads, axis);
}
inline unsigned grid_size(int axis) {
  return axis_of(block->launch.grid, axis);
}

}  // namespace on_cpu

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __shared__ static thread_local  // all fibers of a block run on one OS thread
#define FW_DYNAMIC_SHARED(name) auto* const name = static_cast<unsigned char*>(::on_cpu::dynamic_shared())

#define __syncthreads() ::on_cpu::block_barrier(__FILE__, __LINE__)
#define __syncwarp(...) ::on_cpu::sync_warp(::on_cpu::mask_or_all(__VA_ARGS__), __FILE__, __LINE__)
#define __shfl_sync(mask, value, from) ::on_cpu::shuffle("__shfl_sync", mask, value, (from) & 31, __FILE__, __LINE__)
#define __shfl_xor_sync(mask, value, bits) \
  ::on_cpu::shuffle("__shfl_xor_sync", mask, value, ::on_cpu::own_lane() ^ (bits), __FILE__, __LINE__)
#define __shfl_down_sync(mask, value, by) \
  ::on_cpu::shuffle("__shfl_down_sync", mask, value, ::on_cpu::above(static_cast<int>(by)), __FILE__, __LINE__)
#define __shfl_up_sync(mask, value, by) \
  ::on_cpu::shuffle("__shfl_up_sync", mask, value, ::on_cpu::below(static_cast<int>(by)), __FILE__, __LINE__)
#define __ballot_sync(mask, vote) ::on_cpu::ballot("__ballot_sync", mask, vote, __FILE__, __LINE__)
#define __any_sync(mask, vote) (::on_cpu::ballot("__any_sync", mask, vote, __FILE__, __LINE__) != 0)
#define __all_sync(mask, vote) (::on_cpu::ballot("__all_sync", mask, vote, __FILE__, __LINE__) == (mask))

inline constexpr on_cpu::Index<on_cpu::thread_index> threadIdx{};
inline constexpr on_cpu::Index<on_cpu::block_index> blockIdx{};
inline constexpr on_cpu::Index<on_cpu::block_size> blockDim{};
inline constexpr on_cpu::Index<on_cpu::grid_size> gridDim{};

namespace on_cpu {
inline unsigned mask_or_all(unsigned mask = kAllLanes) {
  return mask;
}
inline int above(int by) {
  return own_lane() + by < kLanes ? own_lane() + by : own_lane();
}
inline int below(int by) {
  return own_lane() >= by ? own_lane() - by : own_lane();
}
}  // namespace on_cpu

template <class Value>
Value __ldg(const Value* place) {
  return *place;
}

template <class Value>
Value atomicAdd(Value* place, Value value) {
  Value old = __atomic_load_n(place, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(place, &old, old + value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
inline float atomicAdd(float* place, float value) {
  uint32_t old = __atomic_load_n(reinterpret_cast<uint32_t*>(place), __ATOMIC_RELAXED), sum;
  float before;
  do {
    memcpy(&before, &old, sizeof before);
    const float after = before + value;
    memcpy(&sum, &after, sizeof sum);
  } while (!__atomic_compare_exchange_n(reinterpret_cast<uint32_t*>(place), &old, sum, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED));
  return before;
}
template <class Value>
Value atomicMin(Value* place, Value value) {
  Value old = __atomic_load_n(place, __ATOMIC_RELAXED);
  while (value < old && !__atomic_compare_exchange_n(place, &old, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
template <class Value>
Value atomicMax(Value* place, Value value) {
  Value old = __atomic_load_n(place, __ATOMIC_RELAXED);
  while (old < value && !__atomic_compare_exchange_n(place, &old, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
template <class Value>
Value atomicExch(Value* place, Value value) {
  return __atomic_exchange_n(place, value, __ATOMIC_RELAXED);
}
template <class Value>
Value atomicCAS(Value* place, Value expected, Value value) {
  __atomic_compare_exchange_n(place, &expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

inline uint32_t __float_as_uint(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float __uint_as_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
inline int __popc(unsigned bits) {
  return __builtin_popcount(bits);
}
inline int __ffs(int bits) {
  return __builtin_ffs(bits);
}
inline int __clz(int bits) {
  return bits == 0 ? 32 : __builtin_clz(static_cast<unsigned>(bits));
}

struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}
inline float2 make_float2(float x, float y) {
  return {x, y};
}
