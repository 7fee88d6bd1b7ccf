// Instructions that the cluster kernel needs beyond CUDA C++: tensor cores, and messages between blocks of a cluster.
// Before compute capability 9.0 there are no clusters, and nothing but tensor cores may be called.
// tests/cuda_on_cpu/cuda/instructions.h has the same functions without a GPU.
#pragma once

#include <cuda_runtime.h>
#include <stdint.h>

namespace fw::cuda {

// sums += weights * inputs: 16 outputs of 16 inputs, of 8 streams. With g = lane / 4 and c = lane % 4 a lane holds, two
// bfloat16 in a word and the first of them in its low half:
//   weights  x: [g][2c, 2c+1]  y: [g+8][2c, 2c+1]  z: [g][2c+8, 2c+9]  w: [g+8][2c+8, 2c+9]    [output][input]
//   inputs   x: [2c, 2c+1][g]  y: [2c+8, 2c+9][g]                                              [input][stream]
//   sums     x: [g][2c]  y: [g][2c+1]  z: [g+8][2c]  w: [g+8][2c+1]                            [output][stream]
__device__ inline void multiply_tile(float4& sums, const uint4& weights, const uint2& inputs) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sums.x), "+f"(sums.y), "+f"(sums.z), "+f"(sums.w)
      : "r"(weights.x), "r"(weights.y), "r"(weights.z), "r"(weights.w), "r"(inputs.x), "r"(inputs.y));
}

// tanh and the logistic operation, within 2^-11 of the value: a quarter of what bfloat16 rounds away.
__device__ inline float fast_tanh(float value) {
  float tanh;
  asm("tanh.approx.f32 %0, %1;" : "=f"(tanh) : "f"(value));
  return tanh;
}

__device__ inline float gated(float filter, float gate) {
  return fast_tanh(filter) * fmaf(0.5f, fast_tanh(0.5f * gate), 0.5f);
}

// Two floats as bfloat16, to the nearest, ties to even.
__device__ inline uint32_t to_bfloat16_pair(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

__device__ inline uint32_t shared_address(const void* own) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(own));
}

// A place in shared memory at which bytes arrive. It goes through phases 0, 1, 2, ...: a phase ends when its bytes have
// been `expect`ed, by one thread and once, and all of them have arrived, in either order.
struct Signal {
  uint64_t word;

  // By one thread; a cluster barrier must follow before anything is put.
  __device__ void prepare() {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(this)) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }

  __device__ void expect(uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(this)), "r"(bytes)
                 : "memory");
  }

  // Until phase `phase` has ended, and then what arrived in it is seen. The one after it must not have ended.
  __device__ void wait(uint32_t phase) {
    asm volatile(
        "{\n"
        ".reg .pred ended;\n"
        "again:\n"
        "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 ended, [%0], %1;\n"
        "@!ended bra again;\n"
        "}\n" ::"r"(shared_address(this)),
        "r"(phase & 1)
        : "memory");
  }
};

__device__ inline uint32_t address_in(const void* own, uint32_t rank) {
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_address(own)), "r"(rank));
  return there;
}

// Writes a value into another block's shared memory, at the place that `own` has in this one, and its bytes arrive at
// that block's `signal`. The other block sees the value once it has waited there.
__device__ inline void put(void* own, Signal* signal, uint32_t rank, uint32_t value) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.u32 [%0], %1, [%2];" ::"r"(address_in(own, rank)),
      "r"(value), "r"(address_in(signal, rank))
      : "memory");
}

__device__ inline void put(void* own, Signal* signal, uint32_t rank, float2 value) {
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1, %2}, [%3];" ::"r"(
                   address_in(own, rank)),
               "f"(value.x), "f"(value.y), "r"(address_in(signal, rank))
               : "memory");
}

__device__ inline void put(void* own, Signal* signal, uint32_t rank, uint2 value) {
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.u32 [%0], {%1, %2}, [%3];" ::"r"(
                   address_in(own, rank)),
               "r"(value.x), "r"(value.y), "r"(address_in(signal, rank))
               : "memory");
}

__device__ inline uint32_t rank_in_cluster() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

__device__ inline void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}

// `threads` of the block, whole warps, wait for each other at barrier `id`, from 1 to 15.
__device__ inline void barrier_of(int id, int threads) {
  asm volatile("barrier.cta.sync.aligned %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

}  // namespace fw::cuda
