// Checks of arguments that the residual stack and the head share. Messages begin with `operation`.
#pragma once

#include <stdint.h>

#include <initializer_list>

namespace fw::cpu {

inline constexpr int64_t kMostChannels = 1 << 16;

struct Size {
  const char* name;
  int64_t value, least, most;
};

struct Pointer {
  const char* name;
  const void* pointer;
  bool needed = true;
};

// FW_OK, or FW_INVALID_ARGUMENT with a message that names the first argument that is wrong.
int32_t check_sizes(const char* operation, std::initializer_list<Size> sizes);
int32_t check_pointers(const char* operation, std::initializer_list<Pointer> pointers);

}  // namespace fw::cpu
