// What both engines ask of a model, and how they lay out a stream's memory.
#pragma once

#include <stdint.h>

#include "fastwave.h"

namespace fw {

inline constexpr int64_t kPad = 16;  // floats; every instruction set's vector divides it, so states fit all of them

inline constexpr int64_t padded(int64_t channels) {
  return (channels + kPad - 1) / kPad * kPad;
}

inline constexpr bool within(int64_t value, int64_t low, int64_t high) {
  return low <= value && value <= high;
}

// Why a model cannot be one, or null.
const char* fault_of(const fw_model_t& model);

}  // namespace fw
