// Memory for floats, aligned to 64 bytes and not initialised.
#pragma once

#include <stdint.h>

#include <new>

#include "cpu/large_pages.h"

namespace fw::cpu {

class Floats {
 public:
  explicit Floats(int64_t count) {
    const auto bytes = static_cast<size_t>(count) * sizeof(float);
    data_ = static_cast<float*>(::operator new(bytes, kAlignment));
    prefer_large_pages(data_, static_cast<int64_t>(bytes));
  }
  ~Floats() { ::operator delete(data_, kAlignment); }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  float* data() const { return data_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  float* data_;
};

}  // namespace fw::cpu
