// What a run of the engine is refused for, before anything is computed.
#include "cpu/generation/run_checks.h"

#include "checks.h"

namespace fw::cpu {
namespace {

// A run evaluates `inputs` inputs of each stream, the first of them at time r.times[s] - before.
const char* conditioning_fault(const fw_run_t& r, int64_t before, int64_t inputs) {
  if (r.projected == nullptr || inputs == 0) return nullptr;
  if (r.first_frame == nullptr || r.hop < 1 || r.frames < 1) return "conditioning is incomplete";
  for (int64_t s = 0; s < r.streams; ++s) {
    if (!within(r.first_frame[s], -kFarFrame, kFarFrame)) return "a first frame is out of range";
    const auto frame_of = [&](int64_t p) { return p / r.hop - (p % r.hop < 0) - r.first_frame[s]; };
    const int64_t first = r.times[s] - before, last = frame_of(first + inputs - 1) + (r.linear ? 1 : 0);
    if (frame_of(first) < 0 || last >= r.frames) return "conditioning does not cover the run";
  }
  return nullptr;
}

}  // namespace

const char* run_fault(const Network& n, const fw_run_t& r) {
  if (r.streams < 1 || r.samples < 0) return "streams or samples is out of range";
  if (r.times == nullptr || r.ids == nullptr || r.memory == nullptr) return "a pointer is null";
  if (const char* fault = sampling_fault(n.classes, r)) return fault;
  for (int64_t s = 0; s < r.streams; ++s) {
    if (r.times[s] < 0 || r.times[s] > INT64_MAX - r.samples || !within(r.ids[s], 0, UINT32_MAX)) {
      return "a time or a stream's id is out of range";
    }
    for (int64_t k = 0; n.classes && k < n.front_taps; ++k) {
      if (!within(r.last_classes[s * n.front_taps + k], 0, n.classes - 1)) return "a last class is out of range";
    }
    for (int64_t i = 0; r.given_classes != nullptr && i < r.samples; ++i) {
      if (!within(r.given_classes[s * r.samples + i], 0, n.classes - 1)) return "a given class is out of range";
    }
  }
  return conditioning_fault(r, 1, r.samples);
}

const char* past_fault(const Network& n, const fw_run_t& r) {
  if (r.streams < 1) return "streams is out of range";
  if (r.samples < 1) return "there is no past to prime with";
  if (n.classes ? r.given_classes == nullptr : r.given_values == nullptr) return "the past is null";
  if (r.times == nullptr || r.memory == nullptr) return "a pointer is null";
  if (n.classes ? r.last_classes == nullptr || r.given_values != nullptr
                : r.last_values == nullptr || r.given_classes != nullptr) {
    return "classes and values are mixed up, or the last ones are null";
  }
  for (int64_t s = 0; s < r.streams; ++s) {
    if (r.times[s] < 0) return "a time is out of range";
    for (int64_t i = 0; n.classes && i < r.samples; ++i) {
      if (!within(r.given_classes[s * r.samples + i], 0, n.classes - 1)) return "a given class is out of range";
    }
  }
  return conditioning_fault(r, r.samples, r.samples - 1);
}

}  // namespace fw::cpu
