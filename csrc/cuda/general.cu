// The general kernel's host side: how a model is packed for it, and how many streams a block gets.
#include <algorithm>
#include <climits>

#include "bfloat16.h"
#include "cuda/general.h"
#include "cuda/kernel.h"
#include "padding.h"

namespace fw::cuda {
namespace {

struct Variant {
  int streams;  // a block
  void (*kernel)(Network, Job);
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

struct Packer {
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
};

int64_t room(int64_t floats) {
  return (floats + kRoom - 1) / kRoom * kRoom;
}

void lay_out(Network& n, const std::vector<Layer>& layers) {
  n.widest_sums = 1;
  while (n.widest_sums < n.outputs) n.widest_sums *= 2;  // top-p sorts in the same memory
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
  s.z = take(n.gate);
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
  static_cast<Shape&>(n) = shape_of(m);
  Packer packer{type, image};
  const int64_t r = m.residual, g = m.gate;
  int64_t memory = 0;
  std::vector<Layer> layers(static_cast<size_t>(m.layers));
  for (int64_t l = 0; l < m.layers; ++l) {
    Layer& layer = layers[static_cast<size_t>(l)];
    const bool last = l + 1 == m.layers;
    layer.dilation = static_cast<int32_t>(m.dilations[l]);
    layer.slots = static_cast<int32_t>((m.taps - 1) * m.dilations[l]);
    layer.memory = memory;
    memory += int64_t{layer.slots} * n.residual;
    layer.dilated = packer.shape(m.taps * n.residual, 2 * n.gate);
    packer.fill(layer.dilated, PaddedMatrix{m.dilated + l * m.taps * r * 2 * g, r, n.residual, g, n.gate, 2 * g});
    pad_groups(image.here(layer.dilated.bias), m.dilated_bias + l * 2 * g, g, n.gate, 2 * n.gate);
    const int64_t onward = last ? 0 : n.residual;
    layer.onward = packer.shape(n.gate, onward + n.skip);
    const PaddedMatrix residual{last ? nullptr : m.residual_weight + l * g * r, g, n.gate, r, n.residual, r};
    const PaddedMatrix skip{m.skip_weight + l * g * m.skip, g, n.gate, m.skip, n.skip, m.skip};
    packer.fill(layer.onward, [&](int64_t i, int64_t j) { return j < onward ? residual(i, j) : skip(i, j - onward); });
    if (!last) pad_groups(image.here(layer.onward.bias), m.residual_bias + l * r, r, n.residual, n.residual);
  }
  const float* const skip_bias = image.take<float>(n.skip);
  pad_groups(image.here(skip_bias), m.skip_bias, m.skip, n.skip, n.skip);
  n.skip_bias = skip_bias;
  n.head0 = packer.shape(n.skip, n.head);
  packer.fill(n.head0, PaddedMatrix{m.head0, m.skip, n.skip, m.head, n.head, m.head});
  pad_groups(image.here(n.head0.bias), m.head0_bias, m.head, n.head, n.head);
  const int64_t outputs = padded(m.outputs);
  n.head1 = packer.shape(n.head, outputs);
  packer.fill(n.head1, PaddedMatrix{m.head1, m.head, n.head, m.outputs, outputs, m.outputs});
  pad_groups(image.here(n.head1.bias), m.head1_bias, m.outputs, outputs, outputs);
  const int64_t rows = 1 + m.front_taps * std::max<int64_t>(m.classes, 1);
  const float* const front = image.take<float>(rows * n.residual);
  if (m.front_bias != nullptr) std::copy_n(m.front_bias, r, image.here(front));
  for (int64_t row = 1; row < rows; ++row)
    std::copy_n(m.front + (row - 1) * r, r, image.here(front) + row * n.residual);
  n.front = front;
  lay_out(n, layers);
  *place = image.take<Layer>(m.layers);
  std::copy(layers.begin(), layers.end(), image.here(*place));
  n.layer = *place;
  return n;
}

// Turns every pointer of the network from an offset into an address of the device.
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

struct Launch {
  Variant variant;
  bool shared;
  fw_plan_t plan;
};

class General : public Kernel {
 public:
  General(const fw_model_t& model, int32_t type, const DeviceLimits& device, Image& image)
      : device_(device),
        shared_(type == FW_FLOAT32 ? Variants<float>::shared : Variants<uint16_t>::shared),
        wide_(type == FW_FLOAT32 ? Variants<float>::wide : Variants<uint16_t>::wide),
        network_(pack(model, type, image, &layers_)) {}

  cudaError_t prepare() override {
    cudaFuncAttributes attributes{};
    cudaError_t error = cudaFuncGetAttributes(&attributes, wide_.kernel);
    for (int i = 0; i < kVariants && error == cudaSuccess; ++i) {
      if (shared_bytes(shared_[i].streams) > device_.shared_bytes) break;
      error =
          cudaFuncSetAttribute(shared_[i].kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, device_.shared_bytes);
    }
    return error;
  }

  void relocate(Image& image, char* base) override { fw::cuda::relocate(network_, image.here(layers_), base); }

  fw_plan_t plan(int64_t streams) const override { return launch_of(streams).plan; }

  cudaError_t launch(const fw_run_t& run, void* workspace, cudaStream_t cuda_stream) const override {
    const Launch launch = launch_of(run.streams);
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(launch.plan.blocks));
    config.blockDim = dim3(kThreads);
    config.dynamicSmemBytes = static_cast<size_t>(launch.plan.shared_bytes);
    config.stream = cuda_stream;
    auto* const scratch = launch.shared ? nullptr : static_cast<char*>(workspace) + kOutcomeBytes;
    const Job job = {run, static_cast<Outcome*>(workspace), reinterpret_cast<float*>(scratch)};
    return cudaLaunchKernelEx(&config, launch.variant.kernel, network_, job);
  }

 private:
  int64_t shared_bytes(int streams) const {
    return network_.scratch.total * streams * static_cast<int64_t>(sizeof(float));
  }

  // As few streams a block as keep every multiprocessor busy with one: a block's latency grows with its streams, and
  // what blocks beyond the first on a multiprocessor would read from the cache again, the streams of one block share.
  Launch launch_of(int64_t streams) const {
    Launch launch{};
    launch.shared = shared_bytes(1) <= device_.shared_bytes;
    launch.variant = launch.shared ? shared_[0] : wide_;
    const auto blocks = [&] { return (streams + launch.variant.streams - 1) / launch.variant.streams; };
    for (int i = 1; i < kVariants && launch.shared; ++i) {
      if (blocks() <= device_.multiprocessors || shared_bytes(shared_[i].streams) > device_.shared_bytes) break;
      launch.variant = shared_[i];
    }
    launch.plan.kernel = FW_KERNEL_GENERAL;
    launch.plan.streams_per_block = launch.variant.streams;
    launch.plan.blocks = blocks();
    launch.plan.shared_bytes = launch.shared ? shared_bytes(launch.variant.streams) : 0;
    launch.plan.workspace_bytes = kOutcomeBytes + (launch.shared ? 0 : launch.plan.blocks * shared_bytes(1));
    return launch;
  }

  DeviceLimits device_;
  const Variant* shared_;  // kVariants of them
  Variant wide_;
  Layer* layers_ = nullptr;
  Network network_;
};

}  // namespace

std::unique_ptr<Kernel> make_general(const fw_model_t& model, int32_t type, const DeviceLimits& device, Image& image,
                                     std::string& why) {
  constexpr int64_t kMost = INT32_MAX / kStreamsPerBlock / kMostSlices;  // sums of a block's streams are an int32
  const int64_t widest = std::max({model.taps * padded(model.residual), 2 * padded(model.gate),
                                   padded(model.residual) + padded(model.skip), 2 * padded(model.outputs)});
  if (widest > kMost) {
    why = std::to_string(widest) + " channels in one product, at most " + std::to_string(kMost) + " can be";
    return nullptr;
  }
  return std::make_unique<General>(model, type, device, image);
}

}  // namespace fw::cuda
