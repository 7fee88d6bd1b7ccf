// The CUDA on the CPU itself: products of tensor cores, and blocks of a cluster that send each other messages, right
// under every schedule; and faults that must be seen. `messages NAME` plants one and prints what was said about it.
#include <cmath>

#include "cuda/instructions.h"
#include "little.h"

namespace {

enum Fault {
  kNone,
  kTileWithoutLane,
  kTileEndedLane,
  kNoWait,
  kEarlyLook,
  kNoExpect,
  kExpectMore,
  kExpectTwice,
  kNoPrepare,
  kPrepareTwice,
  kNoPrepareBarrier,
  kOneSlot,
  kOneSignal,
  kLatePhase,
  kEarlyPhase,
  kMisaligned,
  kMisalignedPair,
  kOutside,
  kNoSuchBlock,
  kNoLastWait,
  kNoLastExpect,
  kBothWaitFirst,
  kPutAfterEnd,
  kEndBeforePut,
  kWaitAndBarrier,
  kHalfWarp,
  kBarrierTwoLines,
};
const char* const kNames[] = {"none",
                              "tile-without-lane",
                              "tile-ended-lane",
                              "no-wait",
                              "early-look",
                              "no-expect",
                              "expect-more",
                              "expect-twice",
                              "no-prepare",
                              "prepare-twice",
                              "no-prepare-barrier",
                              "one-slot",
                              "one-signal",
                              "late-phase",
                              "early-phase",
                              "misaligned",
                              "misaligned-pair",
                              "outside",
                              "no-such-block",
                              "no-last-wait",
                              "no-last-expect",
                              "both-wait-first",
                              "put-after-end",
                              "end-before-put",
                              "wait-and-barrier",
                              "half-warp",
                              "barrier-two-lines"};

// A product of 32 outputs by 48 inputs with 8 streams of them, a warp for 16 outputs.
constexpr int kOutputs = 32, kInputs = 48, kStreams = 8;

__global__ void product(const float* weights, const float* inputs, float* outputs, Fault fault) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, c = lane % 4;
  const int first = static_cast<int>(threadIdx.x) / 32 * 16;
  const auto weight_pair = [&](int output, int input) {
    const float* w = weights + (first + output) * kInputs + input;
    return fw::cuda::to_bfloat16_pair(w[0], w[1]);
  };
  const auto input_pair = [&](int input) {
    return fw::cuda::to_bfloat16_pair(inputs[input * kStreams + g], inputs[(input + 1) * kStreams + g]);
  };
  float4 sums = make_float4(0, 0, 0, 0);
  for (int at = 0; at < kInputs; at += 16) {
    const uint4 w = {weight_pair(g, at + 2 * c), weight_pair(g + 8, at + 2 * c), weight_pair(g, at + 2 * c + 8),
                     weight_pair(g + 8, at + 2 * c + 8)};
    const uint2 x = {input_pair(at + 2 * c), input_pair(at + 2 * c + 8)};
    if (fault == kTileEndedLane && at == 16 && lane == 9) return;
    if (fault == kTileWithoutLane && at == 16 && lane == 9) {
      __syncwarp(1u << 9);
    } else {
      fw::cuda::multiply_tile(sums, w, x);
    }
  }
  __syncthreads();
  float* const out = outputs + (first + g) * kStreams + 2 * c;
  out[0] = sums.x;
  out[1] = sums.y;
  out[8 * kStreams] = sums.z;
  out[8 * kStreams + 1] = sums.w;
}

constexpr int kThreads = 64, kRing = 4, kBlocks = 8, kTurns = 24;

struct Mail {
  fw::cuda::Signal signals[2];
  float2 pairs[2][kThreads];      // of the next block
  uint32_t numbers[2][kThreads];  // of the one before
};

// Blocks in a ring. In every turn each sends a number a thread to the next one and a pair to the one before, and makes
// new ones of those that it gets. Two places and two signals by turns: who sends in turn t + 2 has what the receiver
// sent in turn t + 1, after it had read what came in turn t.
__global__ void circle(uint32_t* numbers, float2* pairs, Fault fault) {
  FW_DYNAMIC_SHARED(bytes);
  Mail& mail = *reinterpret_cast<Mail*>(bytes);
  const uint32_t rank = fw::cuda::rank_in_cluster(), next = (rank + 1) % kRing, before = (rank + kRing - 1) % kRing;
  const int i = static_cast<int>(threadIdx.x);
  if (i < 2 && fault != kNoPrepare) mail.signals[i].prepare();
  if (i == 0 && fault == kPrepareTwice) mail.signals[0].prepare();
  if (fault != kNoPrepareBarrier) fw::cuda::cluster_barrier();
  uint32_t number = blockIdx.x * kThreads + threadIdx.x;
  float2 pair = make_float2(static_cast<float>(blockIdx.x), static_cast<float>(i));
  for (int turn = 0; turn < kTurns; ++turn) {
    const int slot = fault == kOneSlot ? 0 : turn % 2, signal_of = fault == kOneSignal ? 0 : turn % 2;
    fw::cuda::Signal& signal = mail.signals[signal_of];
    uint32_t phase = static_cast<uint32_t>(fault == kOneSignal ? turn : turn / 2);
    const bool last = turn + 1 == kTurns, planted = turn == 6;
    const bool expects = !(fault == kNoExpect && planted) && !(fault == kNoLastExpect && last && rank == 2);
    const uint32_t expected = kThreads * (sizeof number + sizeof pair) + (fault == kExpectMore && planted ? 4 : 0);
    if (i == 0 && turn % 3 && expects) signal.expect(expected);
    if (i == 32 && fault == kExpectTwice && planted) signal.expect(expected);
    void* to = &mail.numbers[slot][i];
    if (fault == kMisaligned && planted) to = bytes + sizeof(Mail) - 6;
    if (fault == kOutside && planted) to = bytes + sizeof(Mail);
    fw::cuda::put(to, &signal, fault == kNoSuchBlock ? kRing : next, number);
    to = &mail.pairs[slot][i];
    if (fault == kMisalignedPair && planted) to = bytes + sizeof(Mail) - 12;
    fw::cuda::put(to, &signal, before, pair);
    if (i == 0 && turn % 3 == 0 && expects) signal.expect(expected);  // perhaps after all has come
    const uint32_t looked = fault == kEarlyLook ? mail.numbers[slot][(i + 1) % kThreads] : 0;
    if (fault == kLatePhase && planted) phase -= 2;
    if (fault == kEarlyPhase && planted) phase += 1;
    if (!(fault == kNoWait && planted) && !(last && (fault == kNoLastWait || fault == kNoLastExpect))) {
      signal.wait(phase);
    }
    number = 3 * (fault == kEarlyLook ? looked : mail.numbers[slot][(i + 1) % kThreads]) +
             static_cast<uint32_t>(mail.pairs[slot][i].x);
    const float2 got = mail.pairs[slot][kThreads - 1 - i];
    pair = make_float2(got.y + 1, static_cast<float>(number % 1000));
    __syncthreads();
  }
  numbers[blockIdx.x * kThreads + threadIdx.x] = number;
  pairs[blockIdx.x * kThreads + threadIdx.x] = pair;
}

// Two blocks, of which one thread each sends the other a number; named barriers around it.
__global__ void two(uint32_t* out, Fault fault) {
  FW_DYNAMIC_SHARED(bytes);
  Mail& mail = *reinterpret_cast<Mail*>(bytes);
  const uint32_t rank = fw::cuda::rank_in_cluster();
  const int i = static_cast<int>(threadIdx.x);
  if (i == 0) mail.signals[0].prepare();
  if (fault == kBarrierTwoLines && i == 3) {
    fw::cuda::cluster_barrier();
  } else {
    fw::cuda::cluster_barrier();
  }
  const auto send = [&] { fw::cuda::put(&mail.numbers[0][0], &mail.signals[0], 1 - rank, 7 + rank); };
  if (fault == kPutAfterEnd || fault == kEndBeforePut) {
    if (rank == 1) return;
    for (int k = 0; k < (fault == kPutAfterEnd ? 2000 : 0); ++k) __syncthreads();
  }
  if (i == 0) {
    mail.signals[0].expect(sizeof(uint32_t));
    if (fault == kBothWaitFirst) mail.signals[0].wait(0);
    if (fault != kWaitAndBarrier || rank == 0) send();
    if (fault == kWaitAndBarrier && rank == 1) fw::cuda::cluster_barrier();
    mail.signals[0].wait(0);
    out[blockIdx.x] = mail.numbers[0][0];
  }
  if (fault == kHalfWarp && i == 40) return;
  if (i >= 32) fw::cuda::barrier_of(3, 32);
  fw::cuda::barrier_of(15, kThreads);
}

template <class... Parameters, class... Arguments>
bool run(void (*kernel)(Parameters...), int blocks, unsigned cluster_size, Arguments... given) {
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {cluster_size, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = sizeof(Mail);
  config.attrs = &cluster;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, given...) == cudaSuccess;
}

bool product_is_right(Fault fault) {
  std::vector<float> weights(kOutputs * kInputs), inputs(kInputs * kStreams), outputs(kOutputs * kStreams, NAN);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i * i % 17) - 8;
  for (size_t i = 0; i < inputs.size(); ++i) inputs[i] = static_cast<float>(i * 7 % 13) - 6;
  bool right = run(product, 1, 1, weights.data(), inputs.data(), outputs.data(), fault);
  for (size_t output = 0; output < kOutputs && right; ++output) {
    for (size_t stream = 0; stream < kStreams; ++stream) {
      float sum = 0;
      for (size_t k = 0; k < kInputs; ++k) sum += weights[output * kInputs + k] * inputs[k * kStreams + stream];
      right = right && outputs[output * kStreams + stream] == sum;
    }
  }
  return right;
}

bool rounding_is_right() {
  const auto low = [](uint32_t bits) { return fw::cuda::to_bfloat16_pair(__uint_as_float(bits), 0); };
  return low(0x3F808000) == 0x3F80 && low(0x3F818000) == 0x3F82 && low(0x3F808001) == 0x3F81 &&
         low(0x7F7FFFFF) == 0x7F80 && low(0xFF800000) == 0xFF80 && low(0x80000001) == 0x8000 &&
         (low(0x7F800001) & 0x7FFF) > 0x7F80 && (low(0xFFFFFFFF) & 0x7FFF) > 0x7F80 &&
         fw::cuda::to_bfloat16_pair(1, -2) == 0xC0003F80;
}

bool circle_is_right(Fault fault) {
  const size_t all = kBlocks * kThreads;
  std::vector<uint32_t> numbers(all, 0), heard(all, 0), new_numbers(all);
  std::vector<float2> pairs(all), heard_pairs(all), new_pairs(all);
  bool right = run(circle, kBlocks, kRing, heard.data(), heard_pairs.data(), fault);
  for (size_t k = 0; k < all; ++k) {
    numbers[k] = static_cast<uint32_t>(k);
    pairs[k] = make_float2(static_cast<float>(k / kThreads), static_cast<float>(k % kThreads));
  }
  for (int turn = 0; turn < kTurns; ++turn) {
    for (size_t k = 0; k < all; ++k) {
      const size_t b = k / kThreads, i = k % kThreads, ring = b / kRing * kRing;
      const size_t before = (ring + (b + kRing - 1) % kRing) * kThreads, next = (ring + (b + 1) % kRing) * kThreads;
      new_numbers[k] = 3 * numbers[before + (i + 1) % kThreads] + static_cast<uint32_t>(pairs[next + i].x);
      new_pairs[k] = make_float2(pairs[next + kThreads - 1 - i].y + 1, static_cast<float>(new_numbers[k] % 1000));
    }
    numbers = new_numbers;
    pairs = new_pairs;
  }
  for (size_t k = 0; k < all; ++k) {
    right = right && heard[k] == numbers[k] && heard_pairs[k].x == pairs[k].x && heard_pairs[k].y == pairs[k].y;
  }
  return right;
}

bool all_right(Fault fault) {
  std::vector<uint32_t> sent(4, 0);
  return product_is_right(fault) && rounding_is_right() && circle_is_right(fault) &&
         run(two, 4, 2, sent.data(), fault) && sent == std::vector<uint32_t>{8, 7, 8, 7};
}

}  // namespace

int main(int argc, char** argv) {
  return run_little_kernels(argc, argv, kNames, all_right);
}
