#include "checks.h"

#include <cmath>

namespace fw {
namespace {
constexpr int64_t kMostChannels = 65536 * 3, kMostLayers = 4096, kMostTaps = 1024, kMostHistory = int64_t{1} << 24;
}

const char* model_fault(const fw_model_t& m) {
  const bool sizes =
      within(m.residual, 1, kMostChannels) && within(m.gate, 1, kMostChannels) && within(m.skip, 1, kMostChannels) &&
      within(m.head, 1, kMostChannels) && within(m.outputs, 1, kMostChannels) && within(m.taps, 2, kMostTaps) &&
      within(m.front_taps, 1, kMostTaps) && within(m.layers, 1, kMostLayers) && within(m.classes, 0, kMostChannels) &&
      within(m.output, FW_CATEGORICAL, FW_GAUSSIAN) && within(m.front_activation, FW_NONE, FW_TANH);
  if (!sizes) return "a size is out of range";
  const bool outputs = m.output == FW_CATEGORICAL ? m.outputs == m.classes
                       : m.output == FW_MIXTURE   ? m.outputs % 3 == 0 && m.classes == 0
                                                  : m.outputs == 2 && m.classes == 0;
  if (!outputs) return "the outputs do not fit the distribution";
  const void* pointers[] = {m.dilations, m.front, m.dilated,    m.dilated_bias, m.skip_weight,
                            m.skip_bias, m.head0, m.head0_bias, m.head1,        m.head1_bias};
  for (const void* pointer : pointers) {
    if (pointer == nullptr) return "a pointer is null";
  }
  if (m.layers > 1 && (m.residual_weight == nullptr || m.residual_bias == nullptr)) return "a pointer is null";
  int64_t slots = 0;
  for (int64_t l = 0; l < m.layers; ++l) {
    if (!within(m.dilations[l], 1, kMostHistory)) return "a dilation is out of range";
    slots += (m.taps - 1) * m.dilations[l];
    if (slots > kMostHistory) return "the receptive field is out of range";
  }
  return nullptr;
}

const char* sampling_fault(int64_t classes, const fw_run_t& r) {
  if (classes ? r.last_classes == nullptr || r.given_values || r.drawn_values
              : r.last_values == nullptr || r.given_classes || r.drawn_classes) {
    return "classes and values are mixed up, or the last ones are null";
  }
  if (!(r.temperature >= 0) || !std::isfinite(r.temperature) || !(r.top_p > 0) || r.top_k < 0) {
    return "temperature, top_p or top_k is out of range";
  }
  return nullptr;
}

}  // namespace fw
