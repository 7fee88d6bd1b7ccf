// Stands in for the one that CMake writes.
#pragma once

namespace fw {
inline constexpr char kBuildInfoCuda[] = R"json({"version": "on the CPU", "toolkit": "none", "architectures": []})json";
}  // namespace fw
