// One sample after another through the whole network. Compiled once per instruction set; see cpu/isa.h.
#include <math.h>

#include "cpu/denormals.h"
#include "cpu/generation/gemv.h"
#include "cpu/spin.h"

namespace fw::cpu::FW_ISA {
namespace {

int64_t floor_divide(int64_t a, int64_t b) {
  const int64_t quotient = a / b;
  return quotient - (a % b < 0);
}

// One sample of one stream, as input of the layers.
struct Row {
  int64_t stream, time;     // the input is the token at this time, which may lie before the start
  const int64_t* classes;   // the token of each front tap, oldest first; null for scalar input
  const float* values;      // likewise
  int64_t first_tap;        // taps before it are older than the first token, and contribute nothing
  const float* excitation;  // [padded R], or null
};

// x of the first layer: the activation of the sum of the bias and of one embedding per front tap, and the excitation
void embed(const Network& n, const Row& input, float* x) {
  const int64_t rows = n.classes ? n.classes : 1;
  for (int64_t j = 0; j < n.residual; j += kLanes) {
    Vec sum = load(n.front + j);
    for (int64_t tap = input.first_tap; tap < n.front_taps; ++tap) {
      const int64_t row = 1 + tap * rows + (n.classes ? input.classes[tap] : 0);
      const Vec weights = load(n.front + row * n.residual + j);
      sum = n.classes ? sum + weights : multiply_add(weights, fill(input.values[tap]), sum);
    }
    if (n.front_activation == FW_RELU) sum = relu(sum);
    if (n.front_activation == FW_TANH) sum = tanh_sigmoid_of(sum, Vec{}).tanh;
    store(x + j, input.excitation == nullptr ? sum : sum + load(input.excitation + j));
  }
}

// Row i of a stream's excitation.
const float* excitation(const Network& n, const fw_run_t& run, int64_t stream, int64_t i) {
  return run.excitation == nullptr ? nullptr : run.excitation + (stream * run.samples + i) * n.residual;
}

// The newest token of a stream that is being generated, in the i-th sample of a run.
Row newest(const Network& n, const fw_run_t& run, int64_t stream, int64_t i) {
  const int64_t at = stream * n.front_taps;
  const int64_t* const classes = n.classes ? run.last_classes + at : nullptr;
  const float* const values = n.classes ? nullptr : run.last_values + at;
  return {stream, run.times[stream] - 1, classes, values, 0, excitation(n, run, stream, i)};
}

// The conditioned bias of every layer at sample p: a frame of the caller's, or two interpolated, written to `mixed`.
const float* conditioning(const Network& n, const fw_run_t& run, int64_t stream, int64_t p, float* mixed) {
  const int64_t width = n.layers * 2 * n.gate;
  const int64_t frame = floor_divide(p, run.hop);
  const float* here = run.projected + (stream * run.frames + frame - run.first_frame[stream]) * width;
  if (!run.linear) return here;
  const float share = static_cast<float>(static_cast<double>(p - frame * run.hop) / static_cast<double>(run.hop));
  for (int64_t j = 0; j < width; j += kLanes) {
    const Vec left = load(here + j);
    store(mixed + j, multiply_add(fill(share), load(here + width + j) - left, left));
  }
  return mixed;
}

void copy_row(const Network& n, const float* from, float* to) {
  for (int64_t j = 0; j < n.residual; j += kLanes) store(to + j, load(from + j));
}

// The slot of time p in a layer's ring.
int64_t slot_of(const Layer& layer, int64_t p) {
  return p - floor_divide(p, layer.slots) * layer.slots;
}

// [x of the oldest tap, ..., x of the newest but one], from a layer's ring. The oldest stands in `slot`, where the
// newest will.
void recall(const Network& n, const Layer& layer, const float* ring, int64_t slot, float* taps) {
  for (int64_t tap = 0; tap + 1 < n.taps; ++tap) {
    copy_row(n, ring + slot * n.residual, taps + tap * n.residual);
    slot += layer.dilation;
    if (slot >= layer.slots) slot -= layer.slots;
  }
}

void rectify(float* values, int64_t count) {
  for (int64_t j = 0; j < count; j += kLanes) {
    store(values + j, relu(load(values + j)));
  }
}

bool finite(const float* values, int64_t count) {
  Vec zeros = {};
  for (int64_t j = 0; j < count; j += kLanes) zeros += load(values + j) * 0.0f;
  return sum_of_lanes(zeros) == 0;
}

// exp((value - largest) / temperature) in place; the padding of the row becomes zero.
void soften(float* values, int64_t count, float temperature) {
  for (int64_t j = count; j < padded(count); ++j) values[j] = -INFINITY;
  Vec most = load(values);
  for (int64_t j = kLanes; j < padded(count); j += kLanes) most = load(values + j) > most ? load(values + j) : most;
  const float largest = largest_lane(most);
  for (int64_t j = 0; j < padded(count); j += kLanes) {
    store(values + j, decay((load(values + j) - largest) / temperature));
  }
}

int64_t draw(const Network& n, const fw_run_t& run, float* out, float uniform, int32_t* order) {
  if (run.temperature == 0) {
    int64_t best = 0;
    for (int64_t j = 1; j < n.outputs; ++j) best = out[j] > out[best] ? j : best;
    return best;
  }
  soften(out, n.outputs, run.temperature);
  return draw_class(out, n.outputs, uniform, run.top_k, run.top_p, order);
}

float clamp(float value, float low, float high) {
  return value < low ? low : value > high ? high : value;
}

float draw_value(const Network& n, const fw_run_t& run, float* out, const float* uniforms, int32_t* order) {
  float mean, log_scale, unit;
  if (n.output == FW_MIXTURE) {
    const int64_t components = n.outputs / 3;
    float largest = -INFINITY;  // no whole vectors: they would write into the means, which follow the logits directly
    for (int64_t j = 0; j < components; ++j) largest = out[j] > largest ? out[j] : largest;
    for (int64_t j = 0; j < components; ++j) out[j] = expf(out[j] - largest);
    const int64_t j = draw_class(out, components, uniforms[0], 0, 1, order);
    mean = out[components + j];
    log_scale = out[2 * components + j];
    const float u = clamp(uniforms[1], 1e-5f, 1 - 1e-5f);
    unit = logf(u / (1 - u));
  } else {
    mean = out[0];
    log_scale = out[1];
    unit = sqrtf(-2 * log1pf(-uniforms[0])) * cosf(6.28318531f * uniforms[1]);
  }
  const float scale = expf(clamp(log_scale, kLogScaleFloor, kLogScaleCeiling));
  return clamp(mean + run.temperature * scale * unit, -1, 1);
}

// Takes the given token or draws one, and appends it to the last tokens.
void take(const Network& n, const fw_run_t& run, int64_t stream, int64_t i, float* out, int32_t* order) {
  const int64_t here = stream * run.samples + i;
  const bool given = run.given_classes != nullptr || run.given_values != nullptr;
  const int64_t draws = n.output == FW_CATEGORICAL ? 1 : 2;
  float uniforms[2] = {};
  for (int64_t d = 0; d < draws && !given; ++d) {
    uniforms[d] = run.noise != nullptr
                      ? run.noise[here * draws + d]
                      : philox_uniform(run.seed, static_cast<uint64_t>(run.times[stream]),
                                       static_cast<uint32_t>(run.ids[stream]), static_cast<uint32_t>(d));
  }
  if (n.classes) {
    int64_t* last = run.last_classes + stream * n.front_taps;
    const int64_t token = given ? run.given_classes[here] : draw(n, run, out, uniforms[0], order);
    for (int64_t tap = 0; tap + 1 < n.front_taps; ++tap) last[tap] = last[tap + 1];
    last[n.front_taps - 1] = token;
    if (run.drawn_classes != nullptr) run.drawn_classes[here] = token;
  } else {
    float* last = run.last_values + stream * n.front_taps;
    const float value = given ? run.given_values[here] : draw_value(n, run, out, uniforms, order);
    for (int64_t tap = 0; tap + 1 < n.front_taps; ++tap) last[tap] = last[tap + 1];
    last[n.front_taps - 1] = value;
    if (run.drawn_values != nullptr) run.drawn_values[here] = value;
  }
}

// Waits until `progress` reaches `goal`; false when the other thread failed.
bool reach(const Relay::Counter& progress, int64_t goal, const Relay& relay) {
  for (Spin spin(relay.yield);; spin.pause()) {
    const int64_t seen = __atomic_load_n(&progress.value, __ATOMIC_ACQUIRE);
    if (seen >= goal) return true;
    if (seen < 0) return false;
  }
}

// A sum begins with this: the bias, or with conditioning a row for each input, copied to `rows`.
struct Init {
  const float* from;
  int64_t stride;
};

Init begin_sums(const Network& n, const fw_run_t& run, int64_t l, int64_t count, const Scratch& s, float* rows) {
  const int64_t width = 2 * n.gate;
  if (run.projected == nullptr) return {n.layer[l].dilated.bias, 0};
  for (int64_t k = 0; k < count; ++k) {
    const float* const row = s.conditions[k] + l * width;
    for (int64_t j = 0; j < width; j += kLanes) store(rows + k * width + j, load(row + j));
  }
  return {rows, width};
}

// The products of the older taps of every split layer, for the next `count` samples of one stream from time p on, and
// the conditioning of these samples. All of their inputs are older than p, since dilations are at least kAheadSamples.
void look_ahead(const Network& n, const fw_run_t& run, int64_t stream, int64_t p, int64_t count, const Scratch& s) {
  const int64_t width = 2 * n.gate;
  for (int64_t k = 0; k < count && run.projected != nullptr; ++k) {
    s.conditions[k] = conditioning(n, run, stream, p + k, s.mixed + k * n.layers * width);
  }
  for (int64_t l = 0; l < n.layers; ++l) {
    const Layer& layer = n.layer[l];
    if (layer.past.in == 0) continue;
    for (int64_t k = 0; k < count; ++k) {
      const float* const ring = run.memory + stream * n.memory_floats + layer.memory;
      recall(n, layer, ring, slot_of(layer, p + k), s.taps + k * n.dilated_inputs);
    }
    float* const ahead = s.ahead + l * kAheadSamples * width;
    const Init init = begin_sums(n, run, l, count, s, ahead);
    multiply(layer.past, s, s.taps, n.dilated_inputs, init.from, init.stride, ahead, width, count);
  }
}

// The layers for `count` inputs, row_of(k) the k-th of them; leaves z of all layers in s.z. Inputs of one stream come
// in the order of time, so that each finds the earlier ones in the rings. `ahead`, where not null, has what look_ahead
// made for the only input, the first layer's.
template <class RowOf>
void body(const Network& n, const fw_run_t& run, int64_t count, RowOf row_of, const Scratch& s, const float* ahead,
          int64_t* layers_done) {
  const int64_t width = 2 * n.gate, z_stride = n.skip_inputs;
  for (int64_t k = 0; k < count; ++k) {
    const Row row = row_of(k);
    embed(n, row, s.x + k * n.residual);
    if (run.projected != nullptr && ahead == nullptr) {
      s.conditions[k] = conditioning(n, run, row.stream, row.time, s.mixed + k * n.layers * width);
    }
  }
  for (int64_t l = 0; l < n.layers; ++l) {
    const Layer& layer = n.layer[l];
    const bool split = layer.past.in > 0, ready = split && ahead != nullptr;
    for (int64_t k = 0; k < count; ++k) {
      const Row row = row_of(k);
      float* const ring = run.memory + row.stream * n.memory_floats + layer.memory;
      float* const taps = s.taps + k * n.dilated_inputs;
      const float* const x = s.x + k * n.residual;
      const int64_t slot = slot_of(layer, row.time);
      if (!ready) recall(n, layer, ring, slot, taps);
      if (!split) copy_row(n, x, taps + (n.taps - 1) * n.residual);
      copy_row(n, x, ring + slot * n.residual);
    }
    Init init =
        ready ? Init{ahead + l * kAheadSamples * width, width} : begin_sums(n, run, l, count, s, s.preactivation);
    if (split && !ready) {
      multiply(layer.past, s, s.taps, n.dilated_inputs, init.from, init.stride, s.preactivation, width, count);
      init = {s.preactivation, width};
    }
    const float* const inputs = split ? s.x : s.taps;
    const int64_t inputs_stride = split ? n.residual : n.dilated_inputs;
    multiply(layer.dilated, s, inputs, inputs_stride, init.from, init.stride, s.preactivation, width, count);
    for (int64_t k = 0; k < count; ++k) {
      for (int64_t j = 0; j < n.gate; j += kLanes) {
        const float* a = s.preactivation + k * width + j;
        store(s.z + k * z_stride + l * n.gate + j, gated(load(a), load(a + n.gate)));
      }
    }
    if (layers_done != nullptr) __atomic_fetch_add(layers_done, 1, __ATOMIC_RELEASE);
    if (l + 1 < n.layers) {
      const Matrix& m = layer.residual;
      for (int64_t k = 0; k < count; ++k) {
        float* x = s.x + k * n.residual;
        for (int64_t j = 0; j < n.residual; j += kLanes) store(x + j, load(x + j) + load(m.bias + j));
      }
      multiply(m, s, s.z + l * n.gate, z_stride, s.x, n.residual, s.x, n.residual, count);
    }
  }
}

// From z of all layers to s.out, for `streams` streams; layer by layer, so that it can run while the body computes.
void tail(const Network& n, int64_t streams, const Scratch& s, int64_t done, int64_t group, Relay* relay) {
  for (int64_t l = 0; l < n.layers; ++l) {
    if (relay != nullptr) reach(relay->layers[group], done + l + 1, *relay);
    const float* init = l == 0 ? n.skip_bias : s.skip;
    multiply(n.layer[l].skip, s, s.z + l * n.gate, n.skip_inputs, init, l == 0 ? 0 : n.skip, s.skip, n.skip, streams);
  }
  rectify(s.skip, streams * n.skip);
  multiply(n.head0, s, s.skip, n.skip, n.head0.bias, 0, s.hidden, n.head, streams);
  rectify(s.hidden, streams * n.head);
  multiply(n.head1, s, s.hidden, n.head, n.head1.bias, 0, s.out, padded(n.outputs), streams);
}

// The part of the scratch that belongs to streams from the k-th on.
Scratch from(const Network& n, Scratch s, int64_t k) {
  s.taps += k * n.dilated_inputs;
  s.preactivation += k * 2 * n.gate;
  s.x += k * n.residual;
  s.z += k * n.skip_inputs;
  s.skip += k * n.skip;
  s.hidden += k * n.head;
  s.out += k * padded(n.outputs);
  s.mixed += k * n.layers * 2 * n.gate;
  s.conditions += k;
  return s;  // bytes, steps and order are used by one product or draw at a time
}

// Checks the outputs of streams begin .. end-1, copies them to the caller, and takes or draws one token each.
int32_t finish(const Network& n, const fw_run_t& job, int64_t begin, int64_t end, int64_t i, const Scratch& s,
               Failure* failure) {
  const int64_t width = padded(n.outputs);
  for (int64_t stream = begin; stream < end; ++stream) {
    float* out = s.out + (stream - begin) * width;
    if (!finite(out, width)) {
      *failure = {stream, job.times[stream]};
      return FW_NOT_FINITE;
    }
    if (job.outputs != nullptr) {
      memcpy(job.outputs + (stream * job.samples + i) * n.outputs, out, static_cast<size_t>(n.outputs) * sizeof(float));
    }
    take(n, job, stream, i, out, s.order);
    ++job.times[stream];
  }
  return FW_OK;
}

int32_t run(const Network& n, const fw_run_t& job, const Part& part, const Scratch& s, Failure* failure) {
  Relay* const relay = part.relay;
  const int64_t streams = part.last_stream - part.first_stream;
  const int64_t groups = part.groups, group_streams = (streams + groups - 1) / groups;
  for (int64_t done = 0, i = part.first_sample; i < part.last_sample; ++done, ++i) {
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t begin = part.first_stream + group * group_streams, last = begin + group_streams;
      const int64_t end = last < part.last_stream ? last : part.last_stream;
      const Scratch group_scratch = from(n, s, group * group_streams);
      if (part.role != Role::kTail) {
        if (relay != nullptr && !reach(relay->samples[group], done, *relay)) return FW_OK;  // the tail reports why
        const auto row_of = [&](int64_t k) { return newest(n, job, begin + k, i); };
        Scratch body_scratch = group_scratch;
        const float* ahead = nullptr;
        if (n.looks_ahead && end - begin == 1 && groups == 1) {
          const int64_t made = done % kAheadSamples, left = part.last_sample - i;
          if (made == 0) {
            look_ahead(n, job, begin, job.times[begin] - 1, left < kAheadSamples ? left : kAheadSamples, group_scratch);
          }
          ahead = s.ahead + made * 2 * n.gate;
          body_scratch.conditions += made;
        }
        body(n, job, end - begin, row_of, body_scratch, ahead,
             relay == nullptr ? nullptr : &relay->layers[group].value);
        if (part.role == Role::kBody) continue;
      }
      tail(n, end - begin, group_scratch, done * n.layers, group, relay);
      const int32_t status = finish(n, job, begin, end, i, group_scratch, failure);
      for (int64_t g = 0; g < groups && relay != nullptr; ++g) {
        if (status != FW_OK || g == group) {
          __atomic_store_n(&relay->samples[g].value, status == FW_OK ? done + 1 : -1, __ATOMIC_RELEASE);
        }
      }
      if (status != FW_OK) return status;
    }
  }
  return FW_OK;
}

// The layers take all tokens of a stream but the newest, `together` at a time: each weight is read once for them all.
void prime(const Network& n, const fw_run_t& job, int64_t stream, int64_t together, const Scratch& s) {
  const int64_t inputs = job.samples - 1, start = job.times[stream] - job.samples;
  for (int64_t first = 0; first < inputs; first += together) {
    const auto row_of = [&](int64_t k) {
      const int64_t oldest = first + k - (n.front_taps - 1);  // of tap 0; it may lie before the first token
      const int64_t at = stream * job.samples + oldest;
      const int64_t* const classes = n.classes ? job.given_classes + at : nullptr;
      const float* const values = n.classes ? nullptr : job.given_values + at;
      const float* const excited = excitation(n, job, stream, first + k);
      return Row{stream, start + first + k, classes, values, oldest < 0 ? -oldest : 0, excited};
    };
    body(n, job, inputs - first < together ? inputs - first : together, row_of, s, nullptr, nullptr);
  }
}

void prime_flushed(const Network& n, const fw_run_t& job, int64_t stream, int64_t together, const Scratch& s) {
  const uint32_t before = flush_denormals();
  prime(n, job, stream, together, s);
  restore_denormals(before);
}

int32_t run_flushed(const Network& n, const fw_run_t& job, const Part& part, const Scratch& s, Failure* failure) {
  const uint32_t before = flush_denormals();
  const int32_t status = run(n, job, part, s, failure);
  restore_denormals(before);
  return status;
}

}  // namespace

extern const Kernels generation;
const Kernels generation = {kLanes, run_flushed, prime_flushed};

}  // namespace fw::cpu::FW_ISA
