// The contents of an engine's device memory, built on the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fw::cuda {

// take() returns offsets from the beginning in the form of pointers: the device's address is added to them when it is
// known (Kernel::relocate). here() leads to the same place on the host.
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

}  // namespace fw::cuda
