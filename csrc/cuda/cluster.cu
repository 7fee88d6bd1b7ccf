// The cluster kernel's host side: which part of the network each block holds, and how its weights are packed.
#include <algorithm>
#include <cstring>

#include "bfloat16.h"
#include "cuda/cluster.h"
#include "cuda/kernel.h"
#include "padding.h"

namespace fw::cuda {
namespace {

using ClusterKernel = void (*)(ClusterNetwork, Job);

int32_t round_up(int64_t value, int64_t to) {
  return static_cast<int32_t>((value + to - 1) / to * to);
}

// Parts of `count` things, as equal as can be.
int32_t begin_of(int32_t part, int32_t parts, int32_t count) {
  return static_cast<int32_t>(int64_t{part} * count / parts);
}

int32_t largest(int32_t parts, int32_t count) {
  return (count + parts - 1) / parts;
}

// `ends`: how many bytes each role needs.
ClusterScratch lay_out(const ClusterNetwork& n, int32_t (&ends)[kIdle + 1]) {
  ClusterScratch s{};
  int32_t end = 0;
  const auto take = [&end](int64_t bytes) {
    const int32_t begin = end;
    end += round_up(bytes, 16);
    return begin;
  };
  const int32_t layers = largest(n.layer_blocks, n.layers);
  const int64_t number = kNumber * kColumns, input = kHalf * kColumns;  // bytes a channel
  s.positions = take(kColumns * static_cast<int64_t>(sizeof(Position)));
  s.flags = take(sizeof(Flags));
  s.signals = take(int64_t{n.layers} * static_cast<int64_t>(sizeof(Signal)));
  const int32_t common = ends[kIdle] = end;
  s.rings = take(int64_t{layers} * kColumns * 8);
  s.slots = take(int64_t{layers} * kColumns * 4);
  s.message = take(n.residual * (number + input) + n.gate * input);
  s.next = take(n.residual * (number + input) + n.gate * input);
  s.x = take(n.residual * number);
  s.x_inputs = take(n.residual * input);
  s.z_inputs[0] = take(n.gate * input);
  s.z_inputs[1] = take(n.gate * input);
  s.past = take(int64_t{layers} * (n.taps - 1) * n.residual * input);
  s.preactivation = take(int64_t{layers} * 2 * n.gate * number);
  ends[kLayers] = end;
  end = common;
  s.z = take(int64_t{n.layers} * n.gate * input);
  s.skip_inputs = take(largest(n.skip_blocks, n.skip / kTile) * kTile * input);
  ends[kSkips] = end;
  end = common;
  s.tokens = take(int64_t{kColumns} * n.front_taps * 4);
  s.partial = take(int64_t{n.skip_blocks} * n.head * number);
  s.hidden = take(n.head * input);
  s.out = take(int64_t{kColumns} * n.width * 4);
  s.sorted = take(int64_t{kColumns} * n.sorted * 4);
  ends[kHead] = end;
  return s;
}

// Bytes of a block's weights. Those that other blocks wait for come first.
struct Weights {
  int64_t critical, all;
};

Weights layer_weights(const ClusterNetwork& n, bool folded, int32_t first, int32_t end) {
  const LayerBytes bytes(n, folded);
  const int64_t layers = end - first, critical = layers * bytes.stride() - (first ? 0 : bytes.stride() - bytes.current);
  return {critical, critical + layers * (bytes.past + bytes.constants)};
}

Weights skip_weights(const ClusterNetwork& n, int32_t tiles) {
  const int64_t layer = tile_bytes(tiles * kTile, n.gate);
  const int64_t critical = tile_bytes(n.head, tiles * kTile) + tiles * kTile * 4 + layer;
  return {critical, critical + (n.layers - 1) * layer};
}

int64_t front_floats(const ClusterNetwork& n) {
  return (1 + int64_t{n.front_taps} * std::max(n.classes, 1)) * n.residual;
}

Weights head_weights(const ClusterNetwork& n) {
  const int64_t critical = tile_bytes(n.width, n.head) + (n.head + n.width) * 4;
  return {critical, critical + front_floats(n) * 4};
}

// Divides the network among a number of blocks. False where the weights that others wait for do not fit a block.
bool share_out(ClusterNetwork& n, bool folded, int32_t blocks, int32_t layer_blocks, int64_t limit) {
  n.members = blocks;
  n.layer_blocks = layer_blocks;
  n.skip_blocks = std::min(blocks - 1 - layer_blocks, n.skip / kTile);
  int32_t scratch[kIdle + 1];
  n.scratch = lay_out(n, scratch);
  const auto place = [&](int32_t rank, Role role, int32_t first, int32_t end, Weights weights, int64_t part) {
    const int64_t room = limit - scratch[role];
    if (weights.critical > room) return false;
    Place& made = n.places[rank];
    made.scratch = scratch[role];
    made.role = role;
    made.first = first;
    made.end = end;
    const int64_t extra = std::min(room, weights.all) - weights.critical;
    made.kept = static_cast<int32_t>(weights.critical + extra / part * part);
    return true;
  };
  const LayerBytes bytes(n, folded);
  int32_t rank = 0;
  for (int32_t b = 0; b < layer_blocks; ++b, ++rank) {
    const int32_t first = begin_of(b, layer_blocks, n.layers), end = begin_of(b + 1, layer_blocks, n.layers);
    const Weights weights = layer_weights(n, folded, first, end);
    if (!place(rank, kLayers, first, end, weights, bytes.past + bytes.constants)) return false;
    n.places[rank].lead = first ? bytes.stride() - bytes.current : 0;
  }
  for (int32_t b = 0; b < n.skip_blocks; ++b, ++rank) {
    const int32_t tiles = n.skip / kTile;
    const int32_t first = begin_of(b, n.skip_blocks, tiles), end = begin_of(b + 1, n.skip_blocks, tiles);
    if (end - first > kMostSkipTiles * kClusterWarps) return false;
    const int64_t layer = tile_bytes((end - first) * kTile, n.gate);
    if (!place(rank, kSkips, first, end, skip_weights(n, end - first), layer)) return false;
  }
  if (!place(rank++, kHead, 0, 0, head_weights(n), front_floats(n) * 4)) return false;
  for (; rank < blocks; ++rank) {
    n.places[rank] = {};
    n.places[rank].role = kIdle;
    n.places[rank].scratch = scratch[kIdle];
  }
  return true;
}

bool keeps_all(const ClusterNetwork& n) {
  for (int32_t b = 0; b < n.skip_blocks; ++b) {
    const Place& place = n.places[n.layer_blocks + b];
    if (place.kept < skip_weights(n, place.end - place.first).all) return false;
  }
  return true;
}

// Takes as few blocks of layers as hold the weights that are waited for, since each block adds latency; and a small
// cluster where all skip weights fit it, so that more clusters fit the device. A size is a power of two.
bool share_out(ClusterNetwork& n, bool folded, int64_t limit) {
  for (int32_t blocks = 4; blocks <= kMostMembers; blocks *= 2) {
    for (int32_t layers = 1; layers <= std::min(blocks - 2, n.layers); ++layers) {
      if (!share_out(n, folded, blocks, layers, limit)) continue;
      if (blocks == kMostMembers || keeps_all(n)) return true;
    }
  }
  return false;
}

class TileWriter {
 public:
  explicit TileWriter(char* to) : to_(to) {}

  // from(i, j) weighs input i in output j.
  template <class From>
  void matrix(int32_t out, int32_t in, const From& from) {
    for (int32_t row = 0; row < out; row += kTile) {
      for (int32_t column = 0; column < in; column += kTile) {
        for (int32_t lane = 0; lane < kWarp; ++lane) {
          const int32_t j = row + lane / 4, i = column + lane % 4 * 2;
          for (int32_t word = 0; word < 4; ++word) {
            const int32_t output = j + word % 2 * 8, input = i + word / 2 * 8;
            bfloat16(from(input, output));
            bfloat16(from(input + 1, output));
          }
        }
      }
    }
  }
  template <class From>
  void floats(int64_t count, const From& from) {
    for (int64_t j = 0; j < count; ++j) {
      const float value = from(j);
      std::memcpy(to_, &value, sizeof value);
      to_ += sizeof value;
    }
  }

 private:
  void bfloat16(float value) {
    const uint16_t bits = to_bfloat16(value);
    std::memcpy(to_, &bits, sizeof bits);
    to_ += sizeof bits;
  }
  char* to_;
};

// A model's weights by padded channels; a sum that is folded is made in double.
struct Padded {
  const fw_model_t& m;
  const Shape& n;

  PaddedMatrix dilated(int32_t l) const {  // [K * R, 2G]
    return {m.dilated + l * m.taps * m.residual * 2 * m.gate, m.residual, n.residual, m.gate, n.gate, 2 * m.gate};
  }
  PaddedMatrix residual(int32_t l) const {  // [G, R]
    return {m.residual_weight + l * m.gate * m.residual, m.gate, n.gate, m.residual, n.residual, m.residual};
  }
  PaddedMatrix skip(int32_t l) const {  // [G, S]
    return {m.skip_weight + l * m.gate * m.skip, m.gate, n.gate, m.skip, n.skip, m.skip};
  }
  float residual_bias(int32_t l, int64_t j) const {
    return j < m.residual ? m.residual_bias[l * m.residual + j] : 0.0f;
  }
  float dilated_bias(int32_t l, int64_t j) const {
    const int64_t half = j / n.gate, channel = j % n.gate;
    return channel < m.gate ? m.dilated_bias[l * 2 * m.gate + half * m.gate + channel] : 0.0f;
  }
  // The current tap of layer l, from input i.
  float current(int32_t l, int64_t i, int64_t j) const { return dilated(l)((m.taps - 1) * n.residual + i, j); }

  // The current tap of layer l behind the residual product of the layer before: [G, 2G], and of its bias: [2G].
  std::vector<double> folded(int32_t l, bool of_bias) const {
    const int64_t rows = of_bias ? 1 : n.gate, columns = 2 * n.gate;
    std::vector<double> made(static_cast<size_t>(rows * columns));
    const PaddedMatrix before = residual(l - 1);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t r = 0; r < m.residual; ++r) {
        const double weight = of_bias ? residual_bias(l - 1, r) : before(i, r);
        double* const to = made.data() + i * columns;
        for (int64_t j = 0; j < columns && weight != 0; ++j) to[j] += weight * current(l, r, j);
      }
    }
    return made;
  }
};

// Outputs of a gate's tile: 8 filters, then their 8 gates, so that a lane has both of a channel.
int64_t gate_row(int64_t row, int64_t gate) {
  return row % kTile / 8 * gate + row / kTile * 8 + row % 8;
}

void pack_layers(const Padded& from, bool folded, const Place& place, TileWriter& to) {
  const Shape& n = from.n;
  for (int32_t l = place.first; l < place.end; ++l) {
    if (l > 0) {
      to.matrix(n.residual, n.gate, from.residual(l - 1));
      if (folded) {
        const std::vector<double> product = from.folded(l, false);
        to.matrix(2 * n.gate, n.gate, [&](int64_t i, int64_t row) {
          return static_cast<float>(product[static_cast<size_t>(i * 2 * n.gate + gate_row(row, n.gate))]);
        });
      }
      to.floats(n.residual, [&](int64_t j) { return from.residual_bias(l - 1, j); });
    }
    to.matrix(2 * n.gate, n.residual,
              [&](int64_t i, int64_t row) { return from.current(l, i, gate_row(row, n.gate)); });
  }
  for (int32_t l = place.first; l < place.end; ++l) {
    const PaddedMatrix dilated = from.dilated(l);
    to.matrix(2 * n.gate, (n.taps - 1) * n.residual,
              [&](int64_t i, int64_t row) { return dilated(i, gate_row(row, n.gate)); });
    to.floats(2 * n.gate, [&](int64_t j) { return from.dilated_bias(l, j); });
    const std::vector<double> of_bias = folded && l > 0 ? from.folded(l, true) : std::vector<double>();
    to.floats(2 * n.gate,
              [&](int64_t j) { return of_bias.empty() ? 0.0f : static_cast<float>(of_bias[static_cast<size_t>(j)]); });
  }
}

void pack_skips(const Padded& from, const Place& place, TileWriter& to) {
  const Shape& n = from.n;
  const fw_model_t& m = from.m;
  const int32_t channels = (place.end - place.first) * kTile, first = place.first * kTile;
  const PaddedMatrix head0 = {m.head0, m.skip, n.skip, m.head, n.head, m.head};
  to.matrix(n.head, channels, [&](int64_t i, int64_t j) { return head0(first + i, j); });
  to.floats(channels, [&](int64_t j) { return first + j < m.skip ? m.skip_bias[first + j] : 0.0f; });
  for (int32_t l = n.layers - 1; l >= 0; --l) {
    const PaddedMatrix skip = from.skip(l);
    to.matrix(channels, n.gate, [&](int64_t i, int64_t j) { return skip(i, first + j); });
  }
}

void pack_head(const Padded& from, TileWriter& to) {
  const Shape& n = from.n;
  const fw_model_t& m = from.m;
  const int64_t width = padded(m.outputs);
  to.matrix(static_cast<int32_t>(width), n.head, PaddedMatrix{m.head1, m.head, n.head, m.outputs, width, m.outputs});
  to.floats(n.head, [&](int64_t j) { return j < m.head ? m.head0_bias[j] : 0.0f; });
  to.floats(width, [&](int64_t j) { return j < m.outputs ? m.head1_bias[j] : 0.0f; });
  const auto front = [&m](int64_t row, int64_t channel) {  // the bias, then the tables
    if (row == 0) return m.front_bias == nullptr ? 0.0f : m.front_bias[channel];
    return m.front[(row - 1) * m.residual + channel];
  };
  const int64_t rows = 1 + m.front_taps * std::max<int64_t>(m.classes, 1);
  to.floats(rows * n.residual, [&](int64_t k) {
    const int64_t channel = k % n.residual;
    return channel < m.residual ? front(k / n.residual, channel) : 0.0f;
  });
}

class Cluster : public Kernel {
 public:
  Cluster(const fw_model_t& model, bool folded, const DeviceLimits& device, const ClusterNetwork& network, Image& image)
      : device_(device), kernel_(folded ? cluster<true> : cluster<false>), network_(network) {
    ClusterNetwork& n = network_;
    const Padded from = {model, n};
    for (Place& place : n.places) {
      if (place.role == kIdle) continue;
      const int64_t bytes = place.role == kLayers  ? layer_weights(n, folded, place.first, place.end).all
                            : place.role == kSkips ? skip_weights(n, place.end - place.first).all
                                                   : head_weights(n).all;
      place.weights = image.take<char>(bytes);
      TileWriter to(image.here(place.weights));
      if (place.role == kLayers) pack_layers(from, folded, place, to);
      if (place.role == kSkips) pack_skips(from, place, to);
      if (place.role == kHead) pack_head(from, to);
    }
    auto *const dilations = image.take<int32_t>(n.layers), *const slots = image.take<int32_t>(n.layers);
    auto* const memory = image.take<int64_t>(n.layers);
    int64_t begin = 0;
    for (int64_t l = 0; l < n.layers; ++l) {
      image.here(dilations)[l] = static_cast<int32_t>(model.dilations[l]);
      image.here(slots)[l] = static_cast<int32_t>((model.taps - 1) * model.dilations[l]);
      image.here(memory)[l] = begin;
      begin += image.here(slots)[l] * int64_t{n.residual};
    }
    n.dilations = dilations;
    n.slots = slots;
    n.memory = memory;
  }

  cudaError_t prepare() override {
    return cudaFuncSetAttribute(kernel_, cudaFuncAttributeMaxDynamicSharedMemorySize, device_.shared_bytes);
  }

  void relocate(Image&, char* base) override {
    const auto move = [base](auto& pointer) {
      pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(base + reinterpret_cast<size_t>(pointer));
    };
    for (Place& place : network_.places) {
      if (place.role != kIdle) move(place.weights);
    }
    move(network_.dilations);
    move(network_.slots);
    move(network_.memory);
  }

  fw_plan_t plan(int64_t streams) const override {
    fw_plan_t plan{};
    plan.kernel = kernel_ == cluster<true> ? FW_KERNEL_CLUSTER : FW_KERNEL_CLUSTER_UNFOLDED;
    plan.blocks_per_cluster = network_.members;
    plan.layer_blocks = network_.layer_blocks;
    plan.streams_per_block = kColumns;
    plan.blocks = (streams + kColumns - 1) / kColumns * network_.members;
    plan.shared_bytes = shared_bytes();
    plan.workspace_bytes = kOutcomeBytes;
    return plan;
  }

  cudaError_t launch(const fw_run_t& run, void* workspace, cudaStream_t cuda_stream) const override {
    cudaLaunchAttribute size{};
    cudaLaunchConfig_t config = configured(plan(run.streams).blocks, &size);
    config.stream = cuda_stream;
    return cudaLaunchKernelEx(&config, kernel_, network_, Job{run, static_cast<Outcome*>(workspace), nullptr});
  }

  // Whether one cluster finds room on the device.
  cudaError_t fits(int* clusters) {
    if (const cudaError_t error = prepare(); error != cudaSuccess) return error;
    cudaLaunchAttribute size{};
    const cudaLaunchConfig_t config = configured(network_.members, &size);
    return cudaOccupancyMaxActiveClusters(clusters, kernel_, &config);
  }

 private:
  int64_t shared_bytes() const {
    int64_t most = 0;
    for (const Place& place : network_.places) most = std::max<int64_t>(most, place.scratch + place.kept);
    return most;
  }

  cudaLaunchConfig_t configured(int64_t blocks, cudaLaunchAttribute* size) const {
    size->id = cudaLaunchAttributeClusterDimension;
    size->val.clusterDim.x = static_cast<unsigned>(network_.members);
    size->val.clusterDim.y = size->val.clusterDim.z = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(kClusterThreads);
    config.dynamicSmemBytes = static_cast<size_t>(shared_bytes());
    config.attrs = size;
    config.numAttrs = 1;
    return config;
  }

  DeviceLimits device_;
  ClusterKernel kernel_;
  ClusterNetwork network_;
};

}  // namespace

std::unique_ptr<Kernel> make_cluster(const fw_model_t& model, int32_t type, bool folded, const DeviceLimits& device,
                                     Image& image, std::string& why) {
  if (type != FW_BFLOAT16) {
    why = "its products are bfloat16";
    return nullptr;
  }
  if (device.major < 9) {
    why = "compute capability " + std::to_string(device.major) + "." + std::to_string(device.minor) +
          " has no clusters, 9.0 has";
    return nullptr;
  }
  cudaFuncAttributes attributes{};
  if (cudaFuncGetAttributes(&attributes, folded ? cluster<true> : cluster<false>) == cudaSuccess &&
      attributes.ptxVersion < 90) {
    why = "the library was built for an architecture without clusters; reinstall with FASTWAVE_CUDA_ARCHS=90";
    return nullptr;
  }
  ClusterNetwork network{};
  static_cast<Shape&>(network) = shape_of(model);
  for (Place& place : network.places) place.role = kIdle;
  network.width = static_cast<int32_t>(padded(model.outputs));
  network.sorted = 1;
  while (network.sorted < network.outputs) network.sorted *= 2;
  if (!share_out(network, folded, device.shared_bytes)) {
    why = "the weights that are waited for do not fit " + std::to_string(kMostMembers) + " multiprocessors of " +
          std::to_string(device.shared_bytes / 1024) + " KB";
    return nullptr;
  }
  auto made = std::make_unique<Cluster>(model, folded, device, network, image);
  int clusters = 0;
  if (made->fits(&clusters) == cudaSuccess && clusters == 0) {
    why = "the device has no " + std::to_string(network.members) + " free multiprocessors side by side";
    return nullptr;
  }
  cudaGetLastError();  // what is wrong with the device is said by what comes next
  return made;
}

}  // namespace fw::cuda
