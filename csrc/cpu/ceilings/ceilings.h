// The kernels behind fw_read_bandwidth_cpu and fw_multiply_add_peak_cpu, one table for each instruction set.
#pragma once

#include <stdint.h>

namespace fw::cpu {

inline constexpr int32_t kTypes = 3;  // FW_FLOAT32, FW_BFLOAT16, FW_INT8

struct Ceilings {
  uint64_t (*read)(const void* data, int64_t bytes);  // data aligned to 64, bytes a multiple of 512
  double (*multiply_add[kTypes])(int64_t rounds);     // null: no such instruction
  int64_t operations_per_round[kTypes];
};

}  // namespace fw::cpu
