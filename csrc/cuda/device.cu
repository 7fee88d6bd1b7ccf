// The CUDA devices that this process sees. The runtime is linked statically, so this works without a driver, too.
#include <cstring>

#include "build_info.h"
#include "cuda/device.h"

namespace fw::cuda {

int32_t failed(const char* operation, cudaError_t error) {
  cudaGetLastError();  // or the next launch, perhaps torch's, would report this error
  return fail(FW_DEVICE_FAILED, "%s: CUDA error %d, %s", operation, static_cast<int>(error), cudaGetErrorString(error));
}

// Where there is no usable driver or device, the message needs no operation: nothing at all runs here.
int32_t count_devices(const char* operation, int32_t* count) {
  int driver = 0, devices = 0;
  if (const cudaError_t error = cudaDriverGetVersion(&driver); error != cudaSuccess) return failed(operation, error);
  if (driver == 0) return fail(FW_NO_DRIVER, "no NVIDIA driver on this machine; use backend=\"cpu\"");
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error == cudaErrorInsufficientDriver) {
    return fail(FW_DRIVER_TOO_OLD, "the NVIDIA driver supports CUDA %d.%d, this library needs %d.%d; update the driver",
                driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
  }
  if (error == cudaErrorNoDevice || (error == cudaSuccess && devices == 0)) {
    return fail(FW_NO_DEVICE, "the NVIDIA driver shows no device; see CUDA_VISIBLE_DEVICES");
  }
  if (error != cudaSuccess) return failed(operation, error);
  *count = devices;
  return FW_OK;
}

int32_t check_device(const char* operation, int32_t index) {
  int32_t count = 0;
  if (const int32_t status = count_devices(operation, &count); status != FW_OK) return status;
  if (index < 0 || index >= count) {
    return fail(FW_INVALID_ARGUMENT, "%s: device %d does not exist; there are %d, from 0", operation, index, count);
  }
  return FW_OK;
}

namespace {

int32_t describe(const char* operation, int32_t index, fw_device_t* device) {
  if (const int32_t status = check_device(operation, index); status != FW_OK) return status;
  cudaDeviceProp properties{};
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, index); error != cudaSuccess) {
    return failed(operation, error);
  }
  *device = fw_device_t{};
  static_assert(sizeof device->name == sizeof properties.name);
  std::memcpy(device->name, properties.name, sizeof device->name);
  device->name[sizeof device->name - 1] = '\0';
  device->compute_major = properties.major;
  device->compute_minor = properties.minor;
  device->multiprocessors = properties.multiProcessorCount;
  device->shared_bytes_per_block = static_cast<int32_t>(properties.sharedMemPerBlockOptin);
  device->l2_bytes = properties.l2CacheSize;
  device->memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  return FW_OK;
}

}  // namespace
}  // namespace fw::cuda

FW_API int32_t fw_build_info_cuda(char* buffer, int64_t capacity, int64_t* length) {
  const int32_t status = fw::copy_text(fw::kBuildInfoCuda, buffer, capacity, length);
  if (status == FW_INVALID_ARGUMENT) return fw::fail(status, "build information: null buffer or bad capacity");
  return status;
}

FW_API int32_t fw_device_count_cuda(int32_t* count) {
  constexpr const char* kOperation = "CUDA devices";
  if (count == nullptr) return fw::fail(FW_INVALID_ARGUMENT, "%s: count is null", kOperation);
  return fw::guarded(kOperation, [&] { return fw::cuda::count_devices(kOperation, count); });
}

FW_API int32_t fw_device_cuda(int32_t index, fw_device_t* device) {
  constexpr const char* kOperation = "CUDA device";
  if (device == nullptr) return fw::fail(FW_INVALID_ARGUMENT, "%s: device is null", kOperation);
  return fw::guarded(kOperation, [&] { return fw::cuda::describe(kOperation, index, device); });
}
