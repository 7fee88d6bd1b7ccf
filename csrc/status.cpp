#include "status.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace fw {
namespace {
thread_local char last_error[512] = "";  // of fixed size: a failed allocation is reported without another one
}

int32_t fail(int32_t status, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(last_error, sizeof last_error, format, arguments);
  va_end(arguments);
  return status;
}

int32_t copy_text(std::string_view text, char* buffer, int64_t capacity, int64_t* length) {
  if (capacity < 0 || (buffer == nullptr) != (capacity == 0)) return FW_INVALID_ARGUMENT;
  const auto whole = static_cast<int64_t>(text.size());
  if (length != nullptr) *length = whole;
  if (buffer == nullptr) return FW_OK;
  const int64_t copied = std::min(whole, capacity - 1);
  std::memcpy(buffer, text.data(), static_cast<size_t>(copied));
  buffer[copied] = '\0';
  return copied == whole ? FW_OK : FW_BUFFER_TOO_SMALL;
}

}  // namespace fw

FW_API int32_t fw_abi_version(void) {
  return FW_ABI_VERSION;
}

FW_API int32_t fw_last_error(char* buffer, int64_t capacity, int64_t* length) {
  return fw::copy_text(fw::last_error, buffer, capacity, length);
}
