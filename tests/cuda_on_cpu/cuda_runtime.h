// The part of the CUDA runtime that fastwave calls, answered by the CPU: two devices of the same kind, every stream in
// order with the host. A test may have any function answer with an error, and change what the devices are.
#pragma once

#include <map>
#include <tuple>

#include "cuda_on_cpu.h"

#define CUDART_VERSION 13000

enum cudaError_t {  // as in the toolkit
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorInvalidDeviceFunction = 98,
  cudaErrorNoDevice = 100,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorLaunchFailure = 719,
};

enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrComputeCapabilityMajor,
  cudaDevAttrComputeCapabilityMinor,
  cudaDevAttrMaxSharedMemoryPerBlockOptin,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone, cudaStreamCaptureStatusActive };
enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension };

using cudaStream_t = struct CUstream_st*;

struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    struct {
      unsigned x, y, z;
    } clusterDim;
  } val;
};

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

struct cudaDeviceProp {
  char name[256];
  int major, minor, multiProcessorCount, l2CacheSize;
  size_t sharedMemPerBlockOptin, totalGlobalMem;
};

struct cudaFuncAttributes {
  int ptxVersion;
};

namespace on_cpu {

struct Machine {
  int driver = CUDART_VERSION, devices = 2, multiprocessors = 3, shared_limit = 227 << 10, major = 9, clusters = 1;
  bool capturing = false;
  std::map<std::string, cudaError_t> answers;  // function -> the error that it returns
  int last_device = -1;                        // of a launch
  void* last_stream = nullptr;
  int launches = 0, allocations = 0;  // allocations that were not given back
  static Machine& here() {
    static Machine machine;
    return machine;
  }
};

inline thread_local int device = 0;

inline cudaError_t answer(const char* function) {
  const auto& answers = Machine::here().answers;
  const auto found = answers.find(function);
  return found == answers.end() ? cudaSuccess : found->second;
}

}  // namespace on_cpu

#define ON_CPU_ANSWER() \
  if (const cudaError_t error = ::on_cpu::answer(__func__); error != cudaSuccess) return error

inline const char* cudaGetErrorString(cudaError_t) {
  return "an error of the CUDA runtime on the CPU";
}
inline cudaError_t cudaGetLastError() {
  return cudaSuccess;
}
inline cudaError_t cudaDriverGetVersion(int* version) {
  ON_CPU_ANSWER();
  *version = on_cpu::Machine::here().driver;
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceCount(int* count) {
  ON_CPU_ANSWER();
  *count = on_cpu::Machine::here().devices;
  return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) {
  ON_CPU_ANSWER();
  *device = on_cpu::device;
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int device) {
  ON_CPU_ANSWER();
  on_cpu::device = device;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  ON_CPU_ANSWER();
  const on_cpu::Machine& machine = on_cpu::Machine::here();
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = machine.multiprocessors;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = machine.shared_limit;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = machine.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      break;
  }
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  ON_CPU_ANSWER();
  *properties = cudaDeviceProp{};
  snprintf(properties->name, sizeof properties->name, "CUDA on the CPU");
  properties->major = on_cpu::Machine::here().major;
  properties->multiProcessorCount = on_cpu::Machine::here().multiprocessors;
  properties->sharedMemPerBlockOptin = static_cast<size_t>(on_cpu::Machine::here().shared_limit);
  properties->l2CacheSize = 1 << 20;
  properties->totalGlobalMem = size_t{1} << 30;
  return cudaSuccess;
}
inline cudaError_t cudaMalloc(void** made, size_t bytes) {
  ON_CPU_ANSWER();
  *made = malloc(bytes);
  if (*made == nullptr) return cudaErrorMemoryAllocation;
  memset(*made, 0xFF, bytes);  // NaN
  ++on_cpu::Machine::here().allocations;
  return cudaSuccess;
}
inline cudaError_t cudaFree(void* memory) {
  free(memory);
  --on_cpu::Machine::here().allocations;
  return on_cpu::answer(__func__);
}
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  ON_CPU_ANSWER();
  memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  ON_CPU_ANSWER();
  memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  ON_CPU_ANSWER();
  memset(to, value, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) {
  ON_CPU_ANSWER();
  return cudaSuccess;
}
inline cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  ON_CPU_ANSWER();
  *status = on_cpu::Machine::here().capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, Kernel*) {
  ON_CPU_ANSWER();
  attributes->ptxVersion = 90;
  return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel*, cudaFuncAttribute, int bytes) {
  ON_CPU_ANSWER();
  return bytes <= on_cpu::Machine::here().shared_limit ? cudaSuccess : cudaErrorInvalidValue;
}

template <class Kernel>
cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, Kernel*, const cudaLaunchConfig_t*) {
  ON_CPU_ANSWER();
  *clusters = on_cpu::Machine::here().clusters;
  return cudaSuccess;
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Arguments&&... given) {
  ON_CPU_ANSWER();
  on_cpu::Machine& machine = on_cpu::Machine::here();
  if (static_cast<int64_t>(config->dynamicSmemBytes) > machine.shared_limit) return cudaErrorInvalidValue;
  machine.last_device = on_cpu::device;
  machine.last_stream = config->stream;
  ++machine.launches;
  dim3 cluster;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    if (config->attrs[i].id == cudaLaunchAttributeClusterDimension) {
      const auto& size = config->attrs[i].val.clusterDim;
      cluster = dim3(size.x, size.y, size.z);
    }
  }
  const std::tuple<Parameters...> arguments(std::forward<Arguments>(given)...);
  const bool well = on_cpu::launch(config->gridDim, config->blockDim, cluster, config->dynamicSmemBytes,
                                   [&] { std::apply(kernel, arguments); });
  return well ? cudaSuccess : cudaErrorLaunchFailure;
}
