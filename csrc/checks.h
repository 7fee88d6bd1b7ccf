// What both engines ask of a model and of a run, and the sizes that both share.
#pragma once

#include <stdint.h>

#include "fastwave.h"

namespace fw {

// Channels are padded to a multiple of 16 floats, which every vector length divides: one state fits every instruction
// set.
inline constexpr int64_t kPad = 16;
inline constexpr int64_t kFarFrame = int64_t{1} << 62;  // of frame numbers, at most: differences cannot overflow
inline constexpr float kLogScaleFloor = -12, kLogScaleCeiling = 12;  // as in fastwave/distributions.py

inline constexpr int64_t padded(int64_t channels) {
  return (channels + kPad - 1) / kPad * kPad;
}

inline constexpr bool within(int64_t value, int64_t low, int64_t high) {
  return low <= value && value <= high;
}

// Why no engine can be made of a model; null where one can.
const char* model_fault(const fw_model_t& model);

// Why a run's tokens or sampling options do not fit a model of `classes` classes; null where they do.
const char* sampling_fault(int64_t classes, const fw_run_t& run);

}  // namespace fw
