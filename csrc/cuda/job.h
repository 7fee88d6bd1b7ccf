// What every CUDA kernel knows of the network that it runs and of the run that it was asked for.
#pragma once

#include <cuda_runtime.h>
#include <stdint.h>

#include "checks.h"
#include "fastwave.h"

#if !defined(FW_DYNAMIC_SHARED)
#define FW_DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

namespace fw::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xFFFFFFFF;
inline constexpr uint64_t kNothing = ~uint64_t{0};

struct Shape {
  int32_t residual, gate, skip, head, outputs;  // padded, but for outputs
  int32_t taps, front_taps, layers, classes;
  int32_t output, front_activation;
  int64_t memory_floats;
};

// The result of a run.
struct Outcome {
  uint64_t refused;  // kNothing, or a Refusal << 32 | stream
  uint64_t failed;   // kNothing, or sample << 32 | stream of the first output that is not finite
};

enum Refusal : uint64_t { kBadTime, kBadLast, kBadGiven, kBadFrame, kBadCover };

struct Job {
  fw_run_t run;  // with pointers of the device
  Outcome* outcome;
  float* scratch;  // of all blocks; null where it is in shared memory
};

struct Position {  // of one stream in the current sample
  int64_t time;    // of the sample that is drawn next
  int64_t row;     // of the projected conditioning, in floats from its beginning
  float share;     // of the next row, for linear conditioning
  int32_t padding;
};

struct Flags {  // of a block
  int32_t refused, failed;
};

}  // namespace fw::cuda
