// The CUDA on the CPU itself: little kernels that must come out right under every schedule, and faults that must be
// seen. `kernels` runs the first; `kernels NAME` plants one fault and prints what was said about it.
#include <cooperative_groups.h>

#include "little.h"

namespace {

namespace cg = cooperative_groups;

constexpr unsigned kAll = 0xFFFFFFFF;
constexpr int kThreads = 96, kBlocks = 6;

enum Fault {
  kNone,
  kNoBarrier,
  kSomeSkipBarrier,
  kTwoBarriers,
  kEarlyReturn,
  kDivergentShuffle,
  kForeignMask,
  kEndedLane,
  kNoWarpBarrier,
  kOverrun,
  kSharedOverrun,
  kNoClusterBarrier,
  kLateLook,
  kClusterDeserted,
  kNamedCount,
};
const char* const kNames[] = {
    "none",         "no-barrier",       "some-skip-barrier", "two-barriers", "early-return",   "divergent-shuffle",
    "foreign-mask", "ended-lane",       "no-warp-barrier",   "overrun",      "shared-overrun", "no-cluster-barrier",
    "late-look",    "cluster-deserted", "named-count"};

// Sums its block's numbers in three ways: shared memory between block barriers, shuffles, and one atomic.
__global__ void sums(const int* numbers, int* by_tree, int* by_warps, int* by_atomic, Fault fault) {
  FW_DYNAMIC_SHARED(bytes);
  int* shared = reinterpret_cast<int*>(bytes);
  __shared__ int of_warps[kThreads / 32];
  const int i = static_cast<int>(threadIdx.x), mine = numbers[blockIdx.x * blockDim.x + threadIdx.x];
  atomicAdd(&by_atomic[blockIdx.x], mine);
  shared[i + (fault == kSharedOverrun)] = mine;
  if (fault == kEarlyReturn && i == 7) return;
  if (fault == kTwoBarriers && i % 2) {
    __syncthreads();
  } else if (fault != kNoBarrier && !(fault == kSomeSkipBarrier && i >= 64)) {
    __syncthreads();
  }
  for (int step = 3 * 16; step >= 3; step /= 2) {
    if (i < step) shared[i] += shared[i + step];
    __syncthreads();
  }
  if (i == 0) by_tree[blockIdx.x] = shared[0] + shared[1] + shared[2];

  int sum = mine;
  if (fault == kEndedLane && i == 40) return;
  if (fault == kDivergentShuffle && i == 40) {
    __syncwarp(1u << 8);
  } else {
    const unsigned mask = fault == kForeignMask && i == 3 ? 1u : kAll;
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(mask, sum, step);
  }
  if (i % 32 == 0) of_warps[i / 32] = sum;
  __syncthreads();
  if (i == 0)
    by_warps[blockIdx.x + (fault == kOverrun && blockIdx.x == kBlocks - 1)] = of_warps[0] + of_warps[1] + of_warps[2];
}

// Votes and shuffles of a part of a warp; then a hand-over between two lanes.
__global__ void warps(int* out, Fault fault) {
  FW_DYNAMIC_SHARED(bytes);
  int* shared = reinterpret_cast<int*>(bytes);
  const int i = static_cast<int>(threadIdx.x), lane = i % 32;
  const int up = __shfl_up_sync(kAll, lane, 1);
  int got = 0;
  if (lane < 16) {
    const unsigned odd = __ballot_sync(0xFFFFu, lane % 2 == 1);
    got = odd == 0xAAAAu && __any_sync(0xFFFFu, lane == 3) && !__all_sync(0xFFFFu, lane == 3) &&
          __all_sync(0xFFFFu, lane < 16);
  } else {
    got = __shfl_down_sync(0xFFFF0000u, lane, 1) == (lane == 31 ? 31 : lane + 1);
  }
  shared[i] = i;
  if (fault != kNoWarpBarrier) __syncwarp();
  out[i] = got && up == (lane == 0 ? 0 : lane - 1) && shared[i ^ 1] == (i ^ 1) && __shfl_sync(kAll, lane, 5) == 5;
}

// Every block reads its neighbour's shared memory, twice, and hands over what it has read.
__global__ void ring(int* out, Fault fault) {
  FW_DYNAMIC_SHARED(bytes);
  int* shared = reinterpret_cast<int*>(bytes);
  const cg::cluster_group cluster = cg::this_cluster();
  const auto rank = static_cast<int>(cluster.block_rank()), blocks = static_cast<int>(cluster.num_blocks());
  const int i = static_cast<int>(threadIdx.x);
  if (fault == kClusterDeserted && blockIdx.x == 1) return;
  shared[i] = 1000 * static_cast<int>(blockIdx.x) + i;
  if (fault != kNoClusterBarrier) cluster.sync();
  const int first = cluster.map_shared_rank(shared, (rank + 1) % blocks)[kThreads - 1 - i];
  cluster.barrier_arrive();
  const int kept = first + 1;
  cluster.barrier_wait();
  shared[i] = kept;
  cluster.sync();
  if (fault == kLateLook && rank == 0) {  // its neighbour ends meanwhile
    for (int k = 0; k < 2000; ++k) __syncthreads();
  }
  out[blockIdx.x * blockDim.x + threadIdx.x] = cluster.map_shared_rank(shared, (rank + 1) % blocks)[i];
  if (fault != kLateLook) cluster.sync();  // nobody ends before it has been read
}

// Two warps hand numbers to the third through named barriers, as a producer and a consumer do.
__global__ void named(int* out, Fault fault) {
  FW_DYNAMIC_SHARED(bytes);
  int* shared = reinterpret_cast<int*>(bytes);
  const int i = static_cast<int>(threadIdx.x), warp = i / 32;
  for (int turn = 0; turn < 5; ++turn) {
    if (warp < 2) shared[i] = turn + i;
    const int count = fault == kNamedCount && warp == 1 ? 64 : 96;
    on_cpu::named_barrier(1, count, __FILE__, __LINE__);
    if (warp == 2) out[turn * 32 + i % 32] = shared[i % 32] + shared[32 + i % 32];
    on_cpu::named_barrier(2, 96, __FILE__, __LINE__);
  }
}

template <class... Parameters, class... Arguments>
bool run(void (*kernel)(Parameters...), int blocks, unsigned cluster_size, Arguments... given) {
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {cluster_size, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = kThreads * sizeof(int);
  config.attrs = &cluster;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, given...) == cudaSuccess;
}

// Runs all kernels; true if every launch went well and every number is right.
bool all_right(Fault fault) {
  std::vector<int> numbers(kBlocks * kThreads), tree(kBlocks, -1), warp(kBlocks, -1), atomic(kBlocks, 0);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<int>(i * i % 1013);
  bool right = run(sums, kBlocks, 1, numbers.data(), tree.data(), warp.data(), atomic.data(), fault);
  for (size_t b = 0; b < kBlocks && right; ++b) {
    int sum = 0;
    for (size_t i = 0; i < kThreads; ++i) sum += numbers[b * kThreads + i];
    right = tree[b] == sum && warp[b] == sum && atomic[b] == sum;
  }
  std::vector<int> votes(kThreads, -1), passed(kBlocks * kThreads, -1), handed(5 * 32, -1);
  right = right && run(warps, 1, 1, votes.data(), fault);
  for (int vote : votes) right = right && vote == 1;
  right = right && run(ring, kBlocks, 3, passed.data(), fault);
  for (int b = 0; b < kBlocks && right; ++b) {
    for (int i = 0; i < kThreads; ++i) {
      const int from = b / 3 * 3 + (b + 2) % 3;  // two blocks on, in the cluster
      right = right && passed[static_cast<size_t>(b * kThreads + i)] == 1000 * from + kThreads - 1 - i + 1;
    }
  }
  right = right && run(named, 1, 1, handed.data(), fault);
  for (int k = 0; k < 5 * 32; ++k) right = right && handed[static_cast<size_t>(k)] == 2 * (k / 32) + 2 * (k % 32) + 32;
  return right;
}

}  // namespace

int main(int argc, char** argv) {
  return run_little_kernels(argc, argv, kNames, all_right);
}
