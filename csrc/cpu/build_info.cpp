#include "build_info.h"

#include "status.h"

FW_API int32_t fw_build_info_cpu(char* buffer, int64_t capacity, int64_t* length) {
  const int32_t status = fw::copy_text(fw::kBuildInfoCpu, buffer, capacity, length);
  if (status == FW_INVALID_ARGUMENT) return fw::fail(status, "build information: null buffer or bad capacity");
  return status;
}
