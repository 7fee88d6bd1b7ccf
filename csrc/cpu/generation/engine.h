// What the engine's two halves share: engine.cpp packs and checks, and is compiled once; generate.cpp computes, and is
// compiled once per instruction set.
#pragma once

#include <stdint.h>

#include "checks.h"
#include "fastwave.h"

namespace fw::cpu {

inline constexpr int64_t kPanel = 8;  // vectors of outputs that one pass over the inputs computes: 8 sums in flight
                                      // hide the latency of 2 multiply-add units with 4 cycles each

// A matrix [in, out] packed for y = W^T x. Outputs are cut into panels of kPanel vectors (the last may have fewer);
// a panel holds its rows one after the other, so that weights are read in one straight line.
//   float32   row i: `width` floats
//   bfloat16  rows 2i and 2i+1 share 32-bit words: the word as a float is W[2i+1], its low half is W[2i]
//   int8      rows 4i .. 4i+3 share 32-bit words, one byte each, lowest first
struct Matrix {
  const void* weights;
  const float* bias;      // [out]
  const float* scale;     // int8: [out], of the weights
  const int32_t* offset;  // int8: [out], 128 times the sum of the column's weights
  int64_t in;             // inputs, padded: a multiple of 16
  int64_t out;            // padded
  int32_t type;           // of the weights
};

// Samples of one stream for which the products of the older taps are made at once, so that their weights are read once.
inline constexpr int64_t kAheadSamples = 8;

struct Layer {
  Matrix past;  // of the older taps of a layer that is split; in == 0: `dilated` has all taps
  Matrix dilated, residual, skip;
  int64_t dilation, slots;  // slots = (K-1) * dilation
  int64_t memory;           // where the layer's ring begins in a stream's memory
};

struct Network {
  int64_t residual, gate, skip, head, outputs;  // padded, but for outputs
  int64_t taps, front_taps, layers, classes, dilated_inputs, skip_inputs, memory_floats;
  int32_t output, front_activation;
  bool looks_ahead;  // a layer is split
  const Layer* layer;
  const float* skip_bias;  // [padded S]
  Matrix head0, head1;
  const float* front;  // [1 + K0 * (A or 1), padded R]: the bias, then the tables
};

// Scratch memory of one thread, in floats; each buffer begins on 64 bytes.
struct Scratch {
  float* taps;               // [streams, padded K*R] inputs of a dilated product
  float* preactivation;      // [streams, 2 * padded G]
  float* ahead;              // [L, kAheadSamples, 2 * padded G] products of older taps, of one stream
  float* x;                  // [streams, padded R]
  float* z;                  // [streams, L * padded G] of every layer
  float* skip;               // [streams, padded S]
  float* hidden;             // [streams, padded H]
  float* out;                // [streams, padded O]
  float* mixed;              // [streams, L * 2 * padded G] conditioning between two frames
  const float** conditions;  // [streams] conditioning of the current sample
  uint8_t* bytes;            // [streams, 2 * widest input] int8 only: high and low bytes of 16-bit activations
  float* steps;              // [streams] int8 only: what one unit of them is worth
  int32_t* order;            // [O] for top-k and top-p
};

// One network on two threads: the body computes the layers; the tail computes the skip sum and the head, and draws.
// Each reads only its half of the weights, which the second-level cache of its own core may hold where the whole does
// not fit. Streams may go in two groups, one for each thread at a time, so that neither waits for the other. Weights
// are then read twice.
inline constexpr int64_t kMostGroups = 2;
struct Relay {
  struct alignas(64) Counter {
    int64_t value = 0;
  };
  Counter layers[kMostGroups];   // that the body has computed since the run began
  Counter samples[kMostGroups];  // that the tail has drawn; below zero: it failed, stop
  void (*yield)() = nullptr;     // called after long waiting, so that threads may outnumber cores
};

enum class Role { kAll, kBody, kTail };

struct Failure {
  int64_t stream = 0, time = 0;
};

// One thread's part of a run.
struct Part {
  int64_t first_stream, last_stream;  // [first, last)
  int64_t first_sample, last_sample;
  Role role;
  Relay* relay;  // null for Role::kAll
  int64_t groups;
};

struct Kernels {
  int32_t lanes;  // floats a vector
  // FW_OK, or FW_NOT_FINITE with the place. A tail's scratch has the body's `z`.
  int32_t (*run)(const Network& network, const fw_run_t& run, const Part& part, const Scratch& scratch,
                 Failure* failure);
  // The tokens given in `run` are heard by one stream, `together` of them at a time; its memory holds zeros before.
  void (*prime)(const Network& network, const fw_run_t& run, int64_t stream, int64_t together, const Scratch& scratch);
};

// sampling.cpp: one draw, in the order that the specification fixes.
int64_t draw_class(float* weights, int64_t classes, float uniform, int64_t top_k, float top_p, int32_t* order);
float philox_uniform(uint64_t seed, uint64_t time, uint32_t stream, uint32_t draw);

}  // namespace fw::cpu
