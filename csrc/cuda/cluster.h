// The cluster kernel: the blocks of a cluster hold one network between them, in shared memory, and 8 streams go through
// it at the latency of one. Weights and inputs of products are bfloat16, for the tensor cores; all else is float32.
//
// The blocks and the messages between them, each for 8 streams:
//   layers 0..a -- x, z --> layers a+1..b -- x, z --> ...      every layer: z --> all skip blocks
//   skip blocks -- shares of the head's first product --> head block -- x --> layers 0..a
// A block adds up past taps, conditioning and biases of the next sample while it waits for that sample.
//
// Why nothing is overwritten too early: a message of sample t+1 follows from the tokens of sample t, and those from all
// that was read on the way to them. Only what no token waits for could still be read: the x of a cluster's last layers.
// So messages to layers have two places, for even and for odd samples.
#pragma once

#include "cuda/cluster_head.h"
#include "cuda/cluster_layers.h"
#include "cuda/cluster_skips.h"

namespace fw::cuda {

template <bool kFolded>
__global__ void __launch_bounds__(kClusterThreads, 1)
    cluster(const __grid_constant__ ClusterNetwork network, const __grid_constant__ Job job) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  FW_DYNAMIC_SHARED(shared);
  const int64_t first = int64_t{blockIdx.x} / network.members * kColumns, left = job.run.streams - first;
  const int count = static_cast<int>(left < kColumns ? left : kColumns);
  const Member member(network, job, shared, first, count);
  if (!member.set_up()) return;
  if (member.place.role == kLayers) LayersMember<kFolded>(network, job, shared, first, count).generate();
  if (member.place.role == kSkips) SkipsMember(network, job, shared, first, count).generate();
  if (member.place.role == kHead) HeadMember(network, job, shared, first, count).generate();
#else
  __trap();  // no clusters; the boundary does not launch it there
#endif
}

}  // namespace fw::cuda
