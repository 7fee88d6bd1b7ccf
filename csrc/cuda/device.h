// What all C functions of the CUDA library need of a device.
#pragma once

#include <cuda_runtime.h>

#include "status.h"

namespace fw::cuda {

int32_t failed(const char* operation, cudaError_t error);
int32_t count_devices(const char* operation, int32_t* count);
int32_t check_device(const char* operation, int32_t index);

// The calling thread's device until the end of the scope; then the one before.
class DeviceScope {
 public:
  explicit DeviceScope(int32_t device) {
    error_ = cudaGetDevice(&before_);
    if (error_ == cudaSuccess && before_ != device) error_ = cudaSetDevice(device);
  }
  ~DeviceScope() { cudaSetDevice(before_); }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;
  cudaError_t error() const { return error_; }

 private:
  int before_ = 0;
  cudaError_t error_;
};

}  // namespace fw::cuda
