// The CUDA engine's boundary: checks, packing, the choice of a launch. The computing is in cuda/general.h.
#include <algorithm>
#include <climits>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "cuda/device.h"
#include "cuda/general.h"
#include "status.h"

namespace fw {
namespace {

using Kernel = void (*)(Network, Job);

constexpr int64_t kMostWidth = INT32_MAX / kStreamsPerBlock;  // channels of all streams of a block are an int32

struct Variant {
  int streams;  // a block
  Kernel kernel;
};

constexpr int kVariants = 4;  // 1, 2, 4 and 8 streams

template <class Weight>
struct Variants {
  static constexpr Variant shared[kVariants] = {{1, general<Weight, 1, true>},
                                                {2, general<Weight, 2, true>},
                                                {4, general<Weight, 4, true>},
                                                {8, general<Weight, 8, true>}};
  static constexpr Variant wide = {1, general<Weight, 1, false>};
};

}  // namespace
}  // namespace fw

struct fw_cuda_engine {
  fw::Network network{};
  int32_t device = 0;
  const fw::Variant* shared = nullptr;  // kVariants of them
  fw::Variant wide{};
  int64_t shared_limit = 0;
  int multiprocessors = 0;
  void* weights = nullptr;

  fw_cuda_engine() = default;
  fw_cuda_engine(const fw_cuda_engine&) = delete;
  fw_cuda_engine& operator=(const fw_cuda_engine&) = delete;
  ~fw_cuda_engine() {
    const fw::DeviceScope scope(device);
    if (weights != nullptr && cudaFree(weights) != cudaSuccess)
      cudaGetLastError();  // the device is gone, and all on it
  }
};

namespace fw {
namespace {

// The engine's device memory, built on the host; pointers are distances from its beginning until it has a place.
class Image {
 public:
  template <class Value>
  Value* take(int64_t count) {
    const size_t begin = (bytes_.size() + 255) / 256 * 256;  // 256: a warp's loads never straddle a line needlessly
    bytes_.resize(begin + static_cast<size_t>(count) * sizeof(Value));
    return reinterpret_cast<Value*>(begin);
  }
  template <class Value>
  Value* here(const Value* at) {
    return reinterpret_cast<Value*>(bytes_.data() + reinterpret_cast<size_t>(at));
  }
  const std::vector<char>& bytes() const { return bytes_; }

 private:
  std::vector<char> bytes_ = std::vector<char>(256);  // so that no place is null
};

uint16_t to_bfloat16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);  // to the nearest, ties to even
}

// A view of weights [in, out] whose rows and columns are groups of `narrow` filled up to `wide` with zeros.
struct Source {
  const float* weights;
  int64_t narrow_in, wide_in, narrow_out, wide_out, columns;

  float operator()(int64_t i, int64_t j) const {
    const int64_t row = i / wide_in * narrow_in + i % wide_in, column = j / wide_out * narrow_out + j % wide_out;
    const bool real = i % wide_in < narrow_in && j % wide_out < narrow_out && column < columns;
    return real ? weights[row * columns + column] : 0.0f;
  }
};

struct Packer {
  const fw_model_t& m;
  int32_t type;
  Image& image;

  Matrix shape(int64_t in, int64_t out) {
    const int64_t quads = out / 4;
    Matrix matrix{};
    matrix.in = static_cast<int32_t>(in);
    matrix.out = static_cast<int32_t>(out);
    // at least 4 inputs a slice, or adding up the slices costs as much as they save
    matrix.slices = static_cast<int32_t>(std::clamp<int64_t>(std::min(kThreads / quads, in / 4), 1, kMostSlices));
    const int64_t size = type == FW_FLOAT32 ? 4 : 2;
    matrix.weights = image.take<char>(in * out * size);
    matrix.bias = image.take<float>(out);
    return matrix;
  }

  template <class From>
  void fill(const Matrix& matrix, const From& from) {
    const int64_t quads = matrix.out / 4;
    char* const place = image.here(static_cast<const char*>(matrix.weights));
    for (int64_t i = 0; i < matrix.in; ++i) {
      for (int64_t k = 0; k < matrix.out; ++k) {  // the k-th number of the row is output k / 4 + k % 4 * quads
        const float weight = from(i, k / 4 + k % 4 * quads);
        const int64_t at = i * matrix.out + k;
        if (type == FW_FLOAT32) {
          reinterpret_cast<float*>(place)[at] = weight;
        } else {
          reinterpret_cast<uint16_t*>(place)[at] = to_bfloat16(weight);
        }
      }
    }
  }

  void fill_bias(const float* to, const float* from, int64_t narrow, int64_t wide, int64_t count) {
    float* const place = image.here(to);
    for (int64_t j = 0; j < count; ++j) {
      place[j] = j % wide < narrow ? from[j / wide * narrow + j % wide] : 0.0f;
    }
  }
};

int64_t room(int64_t floats) {
  return (floats + kRoom - 1) / kRoom * kRoom;
}

void lay_out(Network& n, const std::vector<Layer>& layers) {
  n.widest_sums = 1;
  while (n.widest_sums < n.outputs) n.widest_sums *= 2;  // top-p sorts in the same place
  const auto widen = [&](const Matrix& m) { n.widest_sums = std::max(n.widest_sums, int64_t{m.slices} * m.out); };
  for (const Layer& layer : layers) {
    widen(layer.dilated);
    widen(layer.onward);
  }
  widen(n.head0);
  widen(n.head1);
  Scratch& s = n.scratch;
  const auto take = [&](int64_t floats) {
    const int64_t begin = s.total;
    s.total += room(floats);
    return begin;
  };
  s.positions = take(sizeof(Position) / sizeof(float));
  s.inputs = take(int64_t{n.taps} * n.residual);
  s.gates = take(n.gate);
  s.skip = take(n.skip);
  s.hidden = take(n.head);
  s.sums = take(n.widest_sums);
  s.out = take(n.head1.out);
  s.tokens = take(n.front_taps);
  s.rings = take(n.layers);
  s.flags = take(sizeof(Flags) / sizeof(float));
}

Network pack(const fw_model_t& m, int32_t type, Image& image, Layer** place) {
  Network n{};
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
  Packer packer{m, type, image};
  const int64_t r = m.residual, g = m.gate;
  std::vector<Layer> layers(static_cast<size_t>(m.layers));
  for (int64_t l = 0; l < m.layers; ++l) {
    Layer& layer = layers[static_cast<size_t>(l)];
    const bool last = l + 1 == m.layers;
    layer.dilation = static_cast<int32_t>(m.dilations[l]);
    layer.slots = static_cast<int32_t>((m.taps - 1) * m.dilations[l]);
    layer.memory = n.memory_floats;
    n.memory_floats += int64_t{layer.slots} * n.residual;
    layer.dilated = packer.shape(m.taps * n.residual, 2 * n.gate);
    packer.fill(layer.dilated, Source{m.dilated + l * m.taps * r * 2 * g, r, n.residual, g, n.gate, 2 * g});
    packer.fill_bias(layer.dilated.bias, m.dilated_bias + l * 2 * g, g, n.gate, 2 * n.gate);
    const int64_t onward = last ? 0 : n.residual;
    layer.onward = packer.shape(n.gate, onward + n.skip);
    const Source residual{last ? nullptr : m.residual_weight + l * g * r, g, n.gate, r, n.residual, r};
    const Source skip{m.skip_weight + l * g * m.skip, g, n.gate, m.skip, n.skip, m.skip};
    packer.fill(layer.onward, [&](int64_t i, int64_t j) { return j < onward ? residual(i, j) : skip(i, j - onward); });
    if (!last) packer.fill_bias(layer.onward.bias, m.residual_bias + l * r, r, n.residual, n.residual);
  }
  const float* const skip_bias = image.take<float>(n.skip);
  packer.fill_bias(skip_bias, m.skip_bias, m.skip, n.skip, n.skip);
  n.skip_bias = skip_bias;
  n.head0 = packer.shape(n.skip, n.head);
  packer.fill(n.head0, Source{m.head0, m.skip, n.skip, m.head, n.head, m.head});
  packer.fill_bias(n.head0.bias, m.head0_bias, m.head, n.head, n.head);
  const int64_t outputs = padded(m.outputs);
  n.head1 = packer.shape(n.head, outputs);
  packer.fill(n.head1, Source{m.head1, m.head, n.head, m.outputs, outputs, m.outputs});
  packer.fill_bias(n.head1.bias, m.head1_bias, m.outputs, outputs, outputs);
  const int64_t rows = m.front_taps * std::max<int64_t>(m.classes, 1);
  const float* const front = image.take<float>(rows * n.residual);
  for (int64_t row = 0; row < rows; ++row) std::copy_n(m.front + row * r, r, image.here(front) + row * n.residual);
  n.front = front;
  lay_out(n, layers);
  *place = image.take<Layer>(m.layers);
  std::copy(layers.begin(), layers.end(), image.here(*place));
  n.layer = *place;
  return n;
}

// Every pointer of the network, from a distance to an address of the device.
void relocate(Network& n, Layer* layers, char* base) {
  const auto move = [base](auto& pointer) {
    pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(base + reinterpret_cast<size_t>(pointer));
  };
  const auto move_matrix = [&](Matrix& matrix) {
    move(matrix.weights);
    move(matrix.bias);
  };
  for (int32_t l = 0; l < n.layers; ++l) {
    move_matrix(layers[l].dilated);
    move_matrix(layers[l].onward);
  }
  move_matrix(n.head0);
  move_matrix(n.head1);
  move(n.skip_bias);
  move(n.front);
  move(n.layer);
}

int64_t shared_bytes(const fw_cuda_engine& e, int streams) {
  return e.network.scratch.total * streams * static_cast<int64_t>(sizeof(float));
}

// Kernels may use as much shared memory as the device lets them, where the driver has a kernel for this device at all.
int32_t prepare_kernels(const char* function, const fw_cuda_engine& e) {
  cudaFuncAttributes attributes{};
  if (const cudaError_t error = cudaFuncGetAttributes(&attributes, e.wide.kernel); error != cudaSuccess) {
    if (error != cudaErrorNoKernelImageForDevice && error != cudaErrorInvalidDeviceFunction) {
      return failed(function, error);
    }
    cudaGetLastError();
    int major = 0, minor = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, e.device);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, e.device);
    return fail(FW_UNSUPPORTED,
                "%s: this library was not built for device %d, of compute capability %d.%d; reinstall with "
                "FASTWAVE_CUDA_ARCHS=%d%d, or use backend=\"cpu\"",
                function, e.device, major, minor, major, minor);
  }
  for (int i = 0; i < kVariants; ++i) {
    const int64_t bytes = shared_bytes(e, e.shared[i].streams);
    if (bytes > e.shared_limit) break;
    const cudaError_t error = cudaFuncSetAttribute(e.shared[i].kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                   static_cast<int>(e.shared_limit));
    if (error != cudaSuccess) return failed(function, error);
  }
  return FW_OK;
}

int32_t create(const fw_model_t* model, int32_t device, int32_t type, fw_cuda_engine_t** engine) {
  constexpr const char* kName = "fw_engine_create_cuda";
  if (model == nullptr || engine == nullptr) return fail(FW_INVALID_ARGUMENT, "%s: a pointer is null", kName);
  if (type != FW_FLOAT32 && type != FW_BFLOAT16) {
    return fail(FW_INVALID_ARGUMENT, "%s: type %d is neither float32 nor bfloat16", kName, type);
  }
  if (const char* fault = fault_of(*model)) return fail(FW_INVALID_ARGUMENT, "%s: %s", kName, fault);
  const int64_t widest = std::max({model->taps * padded(model->residual), 2 * padded(model->gate),
                                   padded(model->residual) + padded(model->skip), 2 * padded(model->outputs)});
  if (widest > kMostWidth / kMostSlices) {
    return fail(FW_UNSUPPORTED, "%s: %lld channels in one product, at most %lld can be; use backend=\"cpu\"", kName,
                static_cast<long long>(widest), static_cast<long long>(kMostWidth / kMostSlices));
  }
  if (const int32_t status = check_device(kName, device); status != FW_OK) return status;
  const DeviceScope scope(device);
  if (scope.error() != cudaSuccess) return failed(kName, scope.error());

  auto made = std::make_unique<fw_cuda_engine>();
  made->device = device;
  made->shared = type == FW_FLOAT32 ? Variants<float>::shared : Variants<uint16_t>::shared;
  made->wide = type == FW_FLOAT32 ? Variants<float>::wide : Variants<uint16_t>::wide;
  int limit = 0;
  cudaError_t error = cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error != cudaSuccess) return failed(kName, error);
  error = cudaDeviceGetAttribute(&made->multiprocessors, cudaDevAttrMultiProcessorCount, device);
  if (error != cudaSuccess) return failed(kName, error);
  made->shared_limit = limit;

  Image image;
  Layer* layers = nullptr;
  made->network = pack(*model, type, image, &layers);
  if (const int32_t status = prepare_kernels(kName, *made); status != FW_OK) return status;
  error = cudaMalloc(&made->weights, image.bytes().size());
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return fail(FW_OUT_OF_MEMORY, "%s: device %d has no room for %zu bytes of weights", kName, device,
                image.bytes().size());
  }
  if (error != cudaSuccess) return failed(kName, error);
  relocate(made->network, image.here(layers), static_cast<char*>(made->weights));
  error = cudaMemcpy(made->weights, image.bytes().data(), image.bytes().size(), cudaMemcpyHostToDevice);
  if (error != cudaSuccess) return failed(kName, error);
  *engine = made.release();
  return FW_OK;
}

struct Launch {
  Variant variant;
  bool shared;
  fw_plan_t plan;
};

// As few streams a block as keep every multiprocessor busy with one: a block's latency grows with its streams, and what
// blocks beyond the first on a multiprocessor would read from the cache again, the streams of one block share.
Launch launch_of(const fw_cuda_engine& e, int64_t streams) {
  Launch launch{};
  launch.shared = shared_bytes(e, 1) <= e.shared_limit;
  launch.variant = launch.shared ? e.shared[0] : e.wide;
  const auto blocks = [&] { return (streams + launch.variant.streams - 1) / launch.variant.streams; };
  for (int i = 1; i < kVariants && launch.shared; ++i) {
    if (blocks() <= e.multiprocessors || shared_bytes(e, e.shared[i].streams) > e.shared_limit) break;
    launch.variant = e.shared[i];
  }
  launch.plan.streams_per_block = launch.variant.streams;
  launch.plan.blocks = blocks();
  launch.plan.shared_bytes = launch.shared ? shared_bytes(e, launch.variant.streams) : 0;
  launch.plan.workspace_bytes = 256 + (launch.shared ? 0 : launch.plan.blocks * shared_bytes(e, 1));
  return launch;
}

int32_t plan(const fw_cuda_engine_t* engine, int64_t streams, fw_plan_t* plan) {
  constexpr const char* kName = "fw_engine_plan_cuda";
  if (engine == nullptr || plan == nullptr) return fail(FW_INVALID_ARGUMENT, "%s: a pointer is null", kName);
  if (!within(streams, 1, INT32_MAX)) return fail(FW_INVALID_ARGUMENT, "%s: streams is out of range", kName);
  *plan = launch_of(*engine, streams).plan;
  return FW_OK;
}

const char* fault_of(const Network& n, const fw_run_t& r, const void* workspace) {
  if (!within(r.streams, 1, INT32_MAX) || !within(r.samples, 0, INT32_MAX)) return "streams or samples is out of range";
  if (r.times == nullptr || r.ids == nullptr || r.memory == nullptr || workspace == nullptr) return "a pointer is null";
  if (reinterpret_cast<uintptr_t>(r.memory) % 16 || reinterpret_cast<uintptr_t>(workspace) % 16) {
    return "the memory or the workspace is not on 16 bytes";
  }
  if (n.classes ? r.last_classes == nullptr || r.given_values || r.drawn_values
                : r.last_values == nullptr || r.given_classes || r.drawn_classes) {
    return "classes and values are mixed up, or the last ones are null";
  }
  if (!(r.temperature >= 0) || !std::isfinite(r.temperature) || !(r.top_p > 0) || r.top_k < 0) {
    return "temperature, top_p or top_k is out of range";
  }
  if (r.projected != nullptr && r.samples > 0 && (r.first_frame == nullptr || r.hop < 1 || r.frames < 1)) {
    return "conditioning is incomplete";
  }
  return nullptr;
}

int32_t refused(const char* function, uint64_t refusal) {
  static const char* const kWhy[] = {"a time or a stream's id is out of range", "a last class is out of range",
                                     "a given class is out of range", "a first frame is out of range",
                                     "conditioning does not cover the run"};
  return fail(FW_INVALID_ARGUMENT, "%s: %s, in row %u", function, kWhy[refusal >> 32], static_cast<unsigned>(refusal));
}

int32_t run(const fw_cuda_engine_t* engine, fw_run_t* job, void* workspace, void* on) {
  constexpr const char* kName = "fw_engine_run_cuda";
  if (engine == nullptr || job == nullptr) return fail(FW_INVALID_ARGUMENT, "%s: a pointer is null", kName);
  if (const char* fault = fault_of(engine->network, *job, workspace)) {
    return fail(FW_INVALID_ARGUMENT, "%s: %s", kName, fault);
  }
  const auto stream = static_cast<cudaStream_t>(on);
  const DeviceScope scope(engine->device);
  if (scope.error() != cudaSuccess) return failed(kName, scope.error());
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  if (const cudaError_t error = cudaStreamIsCapturing(stream, &capture); error != cudaSuccess) {
    return failed(kName, error);
  }
  if (capture != cudaStreamCaptureStatusNone) {
    return fail(FW_INVALID_ARGUMENT,
                "%s: the stream is being captured into a CUDA graph, but a run waits for its outcome; run outside of "
                "the capture",
                kName);
  }
  if (job->samples == 0) return FW_OK;

  const Launch launch = launch_of(*engine, job->streams);
  Outcome outcome{};
  auto* const place = static_cast<Outcome*>(workspace);
  cudaError_t error = cudaMemsetAsync(place, 0xFF, sizeof outcome, stream);
  if (error != cudaSuccess) return failed(kName, error);
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(launch.plan.blocks));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = static_cast<size_t>(launch.plan.shared_bytes);
  config.stream = stream;
  auto* const scratch = launch.shared ? nullptr : reinterpret_cast<float*>(static_cast<char*>(workspace) + 256);
  error = cudaLaunchKernelEx(&config, launch.variant.kernel, engine->network, Job{*job, place, scratch});
  if (error != cudaSuccess) return failed(kName, error);
  error = cudaMemcpyAsync(&outcome, place, sizeof outcome, cudaMemcpyDeviceToHost, stream);
  if (error != cudaSuccess) return failed(kName, error);
  error = cudaStreamSynchronize(stream);
  if (error != cudaSuccess) return failed(kName, error);
  if (outcome.refused != kNothing) return refused(kName, outcome.refused);
  if (outcome.failed == kNothing) return FW_OK;

  const auto row = static_cast<int64_t>(outcome.failed & UINT32_MAX);
  int64_t time = 0, id = 0;  // the run left this stream's time where it began
  error = cudaMemcpy(&time, job->times + row, sizeof time, cudaMemcpyDeviceToHost);
  if (error == cudaSuccess) error = cudaMemcpy(&id, job->ids + row, sizeof id, cudaMemcpyDeviceToHost);
  if (error != cudaSuccess) return failed(kName, error);
  job->failed_stream = row;
  job->failed_time = time + static_cast<int64_t>(outcome.failed >> 32);
  return fail(FW_NOT_FINITE, "%s: the output for sample %lld of stream %lld is not finite", kName,
              static_cast<long long>(job->failed_time), static_cast<long long>(id));
}

}  // namespace
}  // namespace fw

FW_API int32_t fw_engine_create_cuda(const fw_model_t* model, int32_t device, int32_t type, fw_cuda_engine_t** engine) {
  return fw::guarded("fw_engine_create_cuda", [&] { return fw::create(model, device, type, engine); });
}

FW_API int32_t fw_engine_destroy_cuda(fw_cuda_engine_t* engine) {
  return fw::guarded("fw_engine_destroy_cuda", [&] {
    delete engine;
    return FW_OK;
  });
}

FW_API int32_t fw_engine_plan_cuda(const fw_cuda_engine_t* engine, int64_t streams, fw_plan_t* plan) {
  return fw::guarded("fw_engine_plan_cuda", [&] { return fw::plan(engine, streams, plan); });
}

FW_API int32_t fw_engine_run_cuda(const fw_cuda_engine_t* engine, fw_run_t* run, void* workspace, void* stream) {
  return fw::guarded("fw_engine_run_cuda", [&] { return fw::run(engine, run, workspace, stream); });
}
