#include "cpu/training/checks.h"

#include "status.h"

namespace fw::cpu {

int32_t check_sizes(const char* operation, std::initializer_list<Size> sizes) {
  for (const Size& size : sizes) {
    if (size.value >= size.least && size.value <= size.most) continue;
    return fail(FW_INVALID_ARGUMENT, "%s: %s is %lld, it must be %lld to %lld", operation, size.name,
                static_cast<long long>(size.value), static_cast<long long>(size.least),
                static_cast<long long>(size.most));
  }
  return FW_OK;
}

int32_t check_pointers(const char* operation, std::initializer_list<Pointer> pointers) {
  for (const Pointer& each : pointers) {
    if (each.needed && each.pointer == nullptr) {
      return fail(FW_INVALID_ARGUMENT, "%s: %s is null", operation, each.name);
    }
  }
  return FW_OK;
}

}  // namespace fw::cpu
