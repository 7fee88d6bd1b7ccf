// The CUDA engine's C functions: checks, the choice of a kernel, and what is the same for all of them.
#include <algorithm>
#include <cstring>
#include <string>

#include "cuda/device.h"
#include "cuda/kernel.h"
#include "status.h"

struct fw_cuda_engine {
  fw::cuda::Shape shape{};
  fw::cuda::DeviceLimits device{};
  std::unique_ptr<fw::cuda::Kernel> kernel;
  std::string reason;  // why this kernel was chosen
  void* weights = nullptr;

  fw_cuda_engine() = default;
  fw_cuda_engine(const fw_cuda_engine&) = delete;
  fw_cuda_engine& operator=(const fw_cuda_engine&) = delete;
  ~fw_cuda_engine() {
    const fw::cuda::DeviceScope scope(device.index);
    if (weights != nullptr && cudaFree(weights) != cudaSuccess)
      cudaGetLastError();  // the device is gone, and so is its memory
  }
};

namespace fw::cuda {
namespace {

cudaError_t read_limits(int32_t index, DeviceLimits* device) {
  device->index = index;
  const std::pair<int*, cudaDeviceAttr> attributes[] = {
      {&device->major, cudaDevAttrComputeCapabilityMajor},
      {&device->minor, cudaDevAttrComputeCapabilityMinor},
      {&device->multiprocessors, cudaDevAttrMultiProcessorCount},
      {&device->shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin},
  };
  for (const auto& [value, attribute] : attributes) {
    if (const cudaError_t error = cudaDeviceGetAttribute(value, attribute, index); error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

// The rule depends on the model and the device alone, so that a stream's samples are the same alone and among
// thousands: the cluster kernel wherever it can run the model, because it reads its weights on the chip; else the
// general one.
std::unique_ptr<Kernel> choose(const fw_model_t& model, int32_t type, int32_t asked, const DeviceLimits& device,
                               Image& image, std::string* reason) {
  std::string why;
  if (asked != FW_KERNEL_GENERAL) {
    auto cluster = make_cluster(model, type, asked != FW_KERNEL_CLUSTER_UNFOLDED, device, image, why);
    *reason = cluster ? "the weights stay on the chip" : "not on a cluster: " + why;
    if (cluster || asked != FW_KERNEL_AUTO) return cluster;
  } else {
    *reason = "asked for";
  }
  auto general = make_general(model, type, device, image, why);
  if (general == nullptr) *reason = why;
  return general;
}

int32_t create(const fw_model_t* model, int32_t device, int32_t type, int32_t kernel, fw_cuda_engine_t** engine) {
  constexpr const char* kOperation = "making a CUDA engine";
  if (model == nullptr || engine == nullptr) return fail(FW_INVALID_ARGUMENT, "%s: a pointer is null", kOperation);
  if (type != FW_FLOAT32 && type != FW_BFLOAT16) {
    return fail(FW_INVALID_ARGUMENT, "%s: type %d is neither float32 nor bfloat16", kOperation, type);
  }
  if (!within(kernel, FW_KERNEL_AUTO, FW_KERNEL_CLUSTER_UNFOLDED)) {
    return fail(FW_INVALID_ARGUMENT, "%s: there is no kernel %d", kOperation, kernel);
  }
  if (const char* fault = model_fault(*model)) return fail(FW_INVALID_ARGUMENT, "%s: %s", kOperation, fault);
  if (const int32_t status = check_device(kOperation, device); status != FW_OK) return status;
  const DeviceScope scope(device);
  if (scope.error() != cudaSuccess) return failed(kOperation, scope.error());

  auto made = std::make_unique<fw_cuda_engine>();
  cudaError_t error = read_limits(device, &made->device);
  if (error != cudaSuccess) return failed(kOperation, error);
  made->shape = shape_of(*model);
  Image image;
  made->kernel = choose(*model, type, kernel, made->device, image, &made->reason);
  if (made->kernel == nullptr) return fail(FW_UNSUPPORTED, "%s: %s", kOperation, made->reason.c_str());
  error = made->kernel->prepare();
  if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction) {
    cudaGetLastError();
    const int major = made->device.major, minor = made->device.minor;
    return fail(FW_UNSUPPORTED,
                "%s: this library was not built for device %d, of compute capability %d.%d; reinstall with "
                "FASTWAVE_CUDA_ARCHS=%d%d, or use backend=\"cpu\"",
                kOperation, device, major, minor, major, minor);
  }
  if (error != cudaSuccess) return failed(kOperation, error);
  error = cudaMalloc(&made->weights, image.bytes().size());
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return fail(FW_OUT_OF_MEMORY, "%s: device %d has no room for %zu bytes of weights", kOperation, device,
                image.bytes().size());
  }
  if (error != cudaSuccess) return failed(kOperation, error);
  made->kernel->relocate(image, static_cast<char*>(made->weights));
  error = cudaMemcpy(made->weights, image.bytes().data(), image.bytes().size(), cudaMemcpyHostToDevice);
  if (error != cudaSuccess) return failed(kOperation, error);
  *engine = made.release();
  return FW_OK;
}

int32_t plan(const fw_cuda_engine_t* engine, int64_t streams, fw_plan_t* plan) {
  constexpr const char* kOperation = "planning a CUDA run";
  if (engine == nullptr || plan == nullptr) return fail(FW_INVALID_ARGUMENT, "%s: a pointer is null", kOperation);
  if (!within(streams, 1, INT32_MAX)) return fail(FW_INVALID_ARGUMENT, "%s: streams is out of range", kOperation);
  *plan = engine->kernel->plan(streams);
  const size_t length = std::min(engine->reason.size(), sizeof plan->reason - 1);
  std::memcpy(plan->reason, engine->reason.data(), length);
  plan->reason[length] = 0;
  return FW_OK;
}

const char* run_fault(const Shape& n, const fw_run_t& r, const void* workspace) {
  if (!within(r.streams, 1, INT32_MAX) || !within(r.samples, 0, INT32_MAX)) return "streams or samples is out of range";
  if (r.times == nullptr || r.ids == nullptr || r.memory == nullptr || workspace == nullptr) return "a pointer is null";
  if (reinterpret_cast<uintptr_t>(r.memory) % 16 || reinterpret_cast<uintptr_t>(workspace) % 16) {
    return "the memory or the workspace is not on 16 bytes";
  }
  if (const char* fault = sampling_fault(n.classes, r)) return fault;
  if (r.projected != nullptr && r.samples > 0 && (r.first_frame == nullptr || r.hop < 1 || r.frames < 1)) {
    return "conditioning is incomplete";
  }
  return nullptr;
}

int32_t refused(const char* operation, uint64_t refusal) {
  static const char* const kWhy[] = {"a time or a stream's id is out of range", "a last class is out of range",
                                     "a given class is out of range", "a first frame is out of range",
                                     "conditioning does not cover the run"};
  return fail(FW_INVALID_ARGUMENT, "%s: %s, in row %u", operation, kWhy[refusal >> 32], static_cast<unsigned>(refusal));
}

int32_t run(const fw_cuda_engine_t* engine, fw_run_t* job, void* workspace, void* stream) {
  constexpr const char* kOperation = "running a CUDA engine";
  if (engine == nullptr || job == nullptr) return fail(FW_INVALID_ARGUMENT, "%s: a pointer is null", kOperation);
  if (const char* fault = run_fault(engine->shape, *job, workspace)) {
    return fail(FW_INVALID_ARGUMENT, "%s: %s", kOperation, fault);
  }
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  const DeviceScope scope(engine->device.index);
  if (scope.error() != cudaSuccess) return failed(kOperation, scope.error());
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  if (const cudaError_t error = cudaStreamIsCapturing(cuda_stream, &capture); error != cudaSuccess) {
    return failed(kOperation, error);
  }
  if (capture != cudaStreamCaptureStatusNone) {
    return fail(
        FW_INVALID_ARGUMENT,
        "%s: the CUDA stream is being captured into a CUDA graph, but a run waits for its outcome; run outside of "
        "the capture",
        kOperation);
  }
  if (job->samples == 0) return FW_OK;

  Outcome outcome{};
  auto* const place = static_cast<Outcome*>(workspace);
  cudaError_t error = cudaMemsetAsync(place, 0xFF, sizeof outcome, cuda_stream);
  if (error != cudaSuccess) return failed(kOperation, error);
  error = engine->kernel->launch(*job, workspace, cuda_stream);
  if (error != cudaSuccess) return failed(kOperation, error);
  error = cudaMemcpyAsync(&outcome, place, sizeof outcome, cudaMemcpyDeviceToHost, cuda_stream);
  if (error != cudaSuccess) return failed(kOperation, error);
  error = cudaStreamSynchronize(cuda_stream);
  if (error != cudaSuccess) return failed(kOperation, error);
  if (outcome.refused != kNothing) return refused(kOperation, outcome.refused);
  if (outcome.failed == kNothing) return FW_OK;

  const auto row = static_cast<int64_t>(outcome.failed & UINT32_MAX);
  int64_t time = 0, id = 0;  // the failed run did not change this stream's time
  error = cudaMemcpy(&time, job->times + row, sizeof time, cudaMemcpyDeviceToHost);
  if (error == cudaSuccess) error = cudaMemcpy(&id, job->ids + row, sizeof id, cudaMemcpyDeviceToHost);
  if (error != cudaSuccess) return failed(kOperation, error);
  job->failed_stream = row;
  job->failed_time = time + static_cast<int64_t>(outcome.failed >> 32);
  return fail(FW_NOT_FINITE, "%s: the output for sample %lld of stream %lld is not finite", kOperation,
              static_cast<long long>(job->failed_time), static_cast<long long>(id));
}

}  // namespace
}  // namespace fw::cuda

FW_API int32_t fw_engine_create_cuda(const fw_model_t* model, int32_t device, int32_t type, int32_t kernel,
                                     fw_cuda_engine_t** engine) {
  return fw::guarded("making a CUDA engine", [&] { return fw::cuda::create(model, device, type, kernel, engine); });
}

FW_API int32_t fw_engine_destroy_cuda(fw_cuda_engine_t* engine) {
  return fw::guarded("freeing a CUDA engine", [&] {
    delete engine;
    return FW_OK;
  });
}

FW_API int32_t fw_engine_plan_cuda(const fw_cuda_engine_t* engine, int64_t streams, fw_plan_t* plan) {
  return fw::guarded("planning a CUDA run", [&] { return fw::cuda::plan(engine, streams, plan); });
}

FW_API int32_t fw_engine_run_cuda(const fw_cuda_engine_t* engine, fw_run_t* run, void* workspace, void* cuda_stream) {
  return fw::guarded("running a CUDA engine", [&] { return fw::cuda::run(engine, run, workspace, cuda_stream); });
}
