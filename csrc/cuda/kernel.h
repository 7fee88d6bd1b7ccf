// What the engine knows of a kernel: how a model is packed for it, and how a run is launched.
#pragma once

#include <cuda_runtime.h>

#include <memory>
#include <string>

#include "cuda/image.h"
#include "cuda/job.h"

namespace fw::cuda {

struct DeviceLimits {
  int32_t index;
  int major, minor, multiprocessors, shared_bytes;  // the most that a block may have
};

class Kernel {
 public:
  virtual ~Kernel() = default;
  // Lets the kernels use as much shared memory as the device has; fails where the library has none for this device.
  virtual cudaError_t prepare() = 0;
  // Called when the weights have their place in the device's memory.
  virtual void relocate(Image& image, char* base) = 0;
  virtual fw_plan_t plan(int64_t streams) const = 0;
  virtual cudaError_t launch(const fw_run_t& run, void* workspace, cudaStream_t cuda_stream) const = 0;
};

inline Shape shape_of(const fw_model_t& m) {
  Shape n{};
  n.residual = static_cast<int32_t>(padded(m.residual));
  n.gate = static_cast<int32_t>(padded(m.gate));
  n.skip = static_cast<int32_t>(padded(m.skip));
  n.head = static_cast<int32_t>(padded(m.head));
  n.outputs = static_cast<int32_t>(m.outputs);
  n.taps = static_cast<int32_t>(m.taps);
  n.front_taps = static_cast<int32_t>(m.front_taps);
  n.layers = static_cast<int32_t>(m.layers);
  n.classes = static_cast<int32_t>(m.classes);
  n.output = m.output;
  n.front_activation = m.front_activation;
  for (int64_t l = 0; l < m.layers; ++l) n.memory_floats += (m.taps - 1) * m.dilations[l] * n.residual;
  return n;
}

// Null, with the reason in `why`, where the kernel cannot run the model or not on this device.

std::unique_ptr<Kernel> make_general(const fw_model_t& model, int32_t type, const DeviceLimits& device, Image& image,
                                     std::string& why);
std::unique_ptr<Kernel> make_cluster(const fw_model_t& model, int32_t type, bool folded, const DeviceLimits& device,
                                     Image& image, std::string& why);

// The workspace of a run begins with its Outcome; what the kernel itself needs comes after it.
inline constexpr int64_t kOutcomeBytes = 256;

}  // namespace fw::cuda
