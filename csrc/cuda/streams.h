// The streams of a block: what all kernels do with the caller's side of a run.
#pragma once

#include "cuda/job.h"
#include "cuda/sampling.h"

namespace fw::cuda {

__device__ inline float relu(float value) {
  return value < 0 ? 0 : value;  // NaN stays NaN
}

__device__ inline int64_t floor_divide(int64_t a, int64_t b) {
  return a / b - (a % b < 0);
}

struct Streams {
  const Shape& n;
  const fw_run_t& run;
  Outcome* outcome;
  int64_t first;        // of the run's
  int count;            // of this block
  Position* positions;  // [count]
  void* tokens;         // [count][K0] int32 classes or float values, oldest first
  Flags* flags;

  __device__ int32_t* classes() const { return static_cast<int32_t*>(tokens); }
  __device__ float* values() const { return static_cast<float*>(tokens); }

  // Checks the values of a run that are in device memory.
  __device__ void check() const {
    const int threads = static_cast<int>(blockDim.x);
    for (int s = static_cast<int>(threadIdx.x); s < count; s += threads) {
      const int64_t stream = first + s, time = run.times[stream];
      if (time < 0 || time > INT64_MAX - run.samples || run.ids[stream] < 0 || run.ids[stream] > UINT32_MAX) {
        refuse(kBadTime, stream);
        continue;  // the rest divides and adds times
      }
      for (int k = 0; n.classes && k < n.front_taps; ++k) {
        const int64_t last = run.last_classes[stream * n.front_taps + k];
        if (last < 0 || last >= n.classes) refuse(kBadLast, stream);
      }
      if (run.projected == nullptr) continue;
      const int64_t begin = run.first_frame[stream];
      if (begin < -kFarFrame || begin > kFarFrame) {
        refuse(kBadFrame, stream);
        continue;
      }
      const int64_t low = floor_divide(time - 1, run.hop) - begin;
      const int64_t high = floor_divide(time + run.samples - 2, run.hop) - begin + (run.linear ? 1 : 0);
      if (low < 0 || high >= run.frames) refuse(kBadCover, stream);
    }
    if (run.given_classes == nullptr) return;
    for (int64_t i = threadIdx.x; i < count * run.samples; i += threads) {
      const int64_t given = run.given_classes[first * run.samples + i];
      if (given < 0 || given >= n.classes) refuse(kBadGiven, first + i / run.samples);
    }
  }

  __device__ void refuse(Refusal why, int64_t stream) const {
    atomicExch(&flags->refused, 1);
    lower(&outcome->refused, why << 32 | static_cast<uint64_t>(stream));
  }

  __device__ static void lower(uint64_t* place, uint64_t value) {
    atomicMin(reinterpret_cast<unsigned long long*>(place), static_cast<unsigned long long>(value));
  }

  __device__ void fetch_times() const {
    for (int s = static_cast<int>(threadIdx.x); s < count; s += static_cast<int>(blockDim.x)) {
      positions[s].time = run.times[first + s];
    }
  }

  __device__ void fetch_tokens() const {
    for (int i = static_cast<int>(threadIdx.x); i < count * n.front_taps; i += static_cast<int>(blockDim.x)) {
      const int64_t token = first * n.front_taps + i;
      if (n.classes) classes()[i] = static_cast<int32_t>(run.last_classes[token]);
      if (!n.classes) values()[i] = run.last_values[token];
    }
  }

  __device__ void write_back() const {
    const int threads = static_cast<int>(blockDim.x);
    for (int s = static_cast<int>(threadIdx.x); s < count; s += threads) run.times[first + s] += run.samples;
    for (int i = static_cast<int>(threadIdx.x); i < count * n.front_taps; i += threads) {
      const int64_t token = first * n.front_taps + i;
      if (n.classes) run.last_classes[token] = classes()[i];
      if (!n.classes) run.last_values[token] = values()[i];
    }
  }

  // The slot of a layer's ring at the sample that is evaluated first.
  __device__ int32_t slot_of(int s, int64_t slots) const {
    const int64_t now = run.times[first + s] - 1;
    return static_cast<int32_t>(now - floor_divide(now, slots) * slots);
  }

  // Channel j of a stream's input of the first layer, in sample i of the run.
  __device__ float embedded(const float* front, int s, int j, int64_t i) const {
    const int64_t rows = n.classes ? n.classes : 1;
    float sum = front[j];
    for (int tap = 0; tap < n.front_taps; ++tap) {
      const int token = s * n.front_taps + tap;
      const int64_t row = 1 + tap * rows + (n.classes ? classes()[token] : 0);
      const float weight = front[row * n.residual + j];
      sum = n.classes ? sum + weight : fmaf(weight, values()[token], sum);
    }
    if (n.front_activation == FW_RELU) sum = relu(sum);
    if (n.front_activation == FW_TANH) sum = tanhf(sum);
    if (run.excitation != nullptr) sum += __ldg(run.excitation + ((first + s) * run.samples + i) * n.residual + j);
    return sum;
  }

  // Finds a stream's conditioning of the sample before `time`.
  __device__ void locate(int s) const {
    Position& position = positions[s];
    const int64_t p = position.time - 1, frame = floor_divide(p, run.hop);
    position.row = ((first + s) * run.frames + frame - run.first_frame[first + s]) * n.layers * 2 * n.gate;
    position.share = static_cast<float>(static_cast<double>(p - frame * run.hop) / static_cast<double>(run.hop));
  }

  // What preactivation j of a layer begins with: the conditioning, or `bias` where there is none.
  __device__ float conditioned(int layer, int s, int j, const float* bias) const {
    if (run.projected == nullptr) return __ldg(bias + j);
    const float* row = run.projected + positions[s].row + int64_t{layer} * 2 * n.gate + j;
    const float here = __ldg(row);
    if (!run.linear) return here;
    return fmaf(positions[s].share, __ldg(row + int64_t{n.layers} * 2 * n.gate) - here, here);
  }

  // One warp appends a token, given or drawn, to the last tokens of stream s. It may change the outputs `out`; `sorted`
  // is room for top-p. False where the outputs are not finite; then nothing has changed.
  __device__ bool take(int s, int64_t i, float* out, float* sorted) const {
    const int64_t stream = first + s, here = stream * run.samples + i;
    bool broken = false;
    for (int j = lane(); j < n.outputs; j += kWarp) broken |= !(fabsf(out[j]) < INFINITY);
    if (__any_sync(kAllLanes, broken)) {
      if (lane() == 0) lower(&outcome->failed, static_cast<uint64_t>(i) << 32 | static_cast<uint64_t>(stream));
      return false;
    }
    const bool given = run.given_classes != nullptr || run.given_values != nullptr;
    const int draws = n.output == FW_CATEGORICAL ? 1 : 2;
    float uniforms[2] = {};
    for (int draw = 0; draw < draws && !given; ++draw) {
      uniforms[draw] = run.noise != nullptr
                           ? run.noise[here * draws + draw]
                           : philox_uniform(run.seed, static_cast<uint64_t>(positions[s].time),
                                            static_cast<uint32_t>(run.ids[stream]), static_cast<uint32_t>(draw));
    }
    if (n.classes) {
      const int32_t token =
          given ? static_cast<int32_t>(run.given_classes[here]) : draw_categorical(n, run, out, uniforms[0], sorted);
      push(classes() + s * n.front_taps, token);
      if (lane() == 0 && run.drawn_classes != nullptr) run.drawn_classes[here] = token;
    } else {
      const float value = given ? run.given_values[here] : draw_value(n, run, out, uniforms[0], uniforms[1]);
      push(values() + s * n.front_taps, value);
      if (lane() == 0 && run.drawn_values != nullptr) run.drawn_values[here] = value;
    }
    __syncwarp();  // all lanes have read the time
    if (lane() == 0) ++positions[s].time;
    return true;
  }

  template <class Token>
  __device__ void push(Token* last, Token token) const {
    if (lane() != 0) return;
    for (int tap = 0; tap + 1 < n.front_taps; ++tap) last[tap] = last[tap + 1];
    last[n.front_taps - 1] = token;
  }
};

}  // namespace fw::cuda
