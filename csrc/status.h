// What every C function needs: a failure with its message, and a wall that no exception passes. Messages are shown to
// users: they begin with the operation in words and name no C function.
#pragma once

#include <exception>
#include <new>
#include <string_view>

#include "fastwave.h"

namespace fw {

// Keeps the message for fw_last_error and returns `status`.
__attribute__((format(printf, 2, 3))) int32_t fail(int32_t status, const char* format, ...);

int32_t copy_text(std::string_view text, char* buffer, int64_t capacity, int64_t* length);

template <class Body>
int32_t guarded(const char* operation, Body&& body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return fail(FW_OUT_OF_MEMORY, "%s: out of memory", operation);
  } catch (const std::exception& error) {
    return fail(FW_INTERNAL, "%s: %s", operation, error.what());
  } catch (...) {
    return fail(FW_INTERNAL, "%s: unknown exception", operation);
  }
}

}  // namespace fw
