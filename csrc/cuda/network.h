// What the CUDA engine's two halves share: engine.cu packs and checks, general.h computes.
#pragma once

#include <stdint.h>

#include "fastwave.h"
#include "model.h"

namespace fw {

inline constexpr int kWarp = 32, kThreads = 256, kWarps = kThreads / kWarp;
inline constexpr int kMostSlices = 16;  // of a product's inputs; beyond, adding the parts up costs more than it saves
inline constexpr int kStreamsPerBlock = 8;  // at most: 4 outputs x 8 streams are 32 sums in registers
inline constexpr int64_t kRoom = 4;         // floats: every buffer of the scratch begins on 16 bytes
inline constexpr uint64_t kNothing = ~uint64_t{0};

// A matrix [in, out] packed for y = W^T x, float32 or bfloat16. A thread computes the outputs q, q + out/4, q + out/2
// and q + 3*out/4 over every `slices`-th input; a row holds those four side by side, q after q. Threads in their order
// therefore read one straight line: first `slices` rows, then the next ones.
struct Matrix {
  const void* weights;
  const float* bias;  // [out]
  int32_t in, out;    // padded
  int32_t slices;
};

struct Layer {
  Matrix dilated, onward;   // onward: z to [x of the next layer | skip sum]; the last layer has the skip sum alone
  int32_t dilation, slots;  // slots = (K-1) * dilation
  int64_t memory;           // where the layer's ring begins in a stream's memory
};

// Where the buffers of a block's scratch begin, in floats a stream: each holds all streams of the block, the first so
// many floats times that. Activations are [channel][stream], so that a thread loads one input of all streams at once.
struct Scratch {
  int64_t positions;  // a Position
  int64_t inputs;     // [K * padded R] of a dilated product; the last tap is x itself
  int64_t gates;      // [padded G] z
  int64_t skip;       // [padded S]
  int64_t hidden;     // [padded H]
  int64_t sums;       // [stream][slices][out] or, for top-p, [stream][a power of two >= O]
  int64_t out;        // [stream][padded O]
  int64_t tokens;     // [stream][K0] float or int32
  int64_t rings;      // [L][stream] int32: the slot of the current sample
  int64_t flags;      // a Flags, the first stream's
  int64_t total;
};

struct Network {
  int32_t residual, gate, skip, head, outputs;  // padded, but for outputs
  int32_t taps, front_taps, layers, classes;
  int32_t output;
  int64_t memory_floats;
  int64_t widest_sums;  // of `sums`, a stream
  Scratch scratch;
  const Layer* layer;
  const float* skip_bias;  // [padded S]
  Matrix head0, head1;
  const float* front;  // [K0, A or 1, padded R]
};

// One run, besides the network: fw_run_t with pointers of the device, and where the outcome goes.
struct Outcome {
  uint64_t refused;  // kNothing, or a Refusal << 32 | stream
  uint64_t failed;   // kNothing, or sample << 32 | stream of the first output that is not finite
};

enum Refusal : uint64_t { kBadTime, kBadLast, kBadGiven, kBadFrame, kBadCover };

struct Job {
  fw_run_t run;
  Outcome* outcome;
  float* scratch;  // of all blocks, or null: then it is in shared memory
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

inline constexpr int64_t kFarFrame = int64_t{1} << 62;  // so that differences of frames cannot overflow

}  // namespace fw
