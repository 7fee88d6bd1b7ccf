// The C functions that measure ceilings: checks, memory and the clock. The kernels are in cpu/ceilings/ceilings.cpp.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>

#include "cpu/ceilings/ceilings.h"
#include "cpu/isa.h"
#include "status.h"

FW_TABLE(Ceilings, ceilings)

namespace fw::cpu {
namespace {

constexpr int64_t kLeastBytes = 4096, kMostBytes = int64_t{1} << 32;
constexpr double kMostSeconds = 60;
constexpr const char* kTypeNames[kTypes] = {"float32", "bfloat16", "int8"};

int32_t check_run(const char* operation, int32_t isa, double seconds, const void* result) {
  if (result == nullptr) return fail(FW_INVALID_ARGUMENT, "%s: the result pointer is null", operation);
  if (!(seconds > 0 && seconds <= kMostSeconds)) {  // also refuses NaN
    return fail(FW_INVALID_ARGUMENT, "%s: seconds is %g, it must be above 0 and at most %g", operation, seconds,
                kMostSeconds);
  }
  return check_isa(operation, isa);
}

template <class Value>
void keep(Value value) {
  __asm__ volatile("" : : "m"(value) : "memory");  // or the compiler would remove the work as unused
}

// Calls `work(repeats)` for about `seconds` and returns the least seconds a repeat took.
template <class Work>
double fastest(double seconds, Work work) {
  using Clock = std::chrono::steady_clock;
  using Seconds = std::chrono::duration<double>;
  constexpr double kShortest = 50e-6;  // seconds; reading the clock takes about 25 ns: 0.05% of that
  const Clock::time_point deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(Seconds(seconds));
  double best = 0;
  for (int64_t repeats = 1;;) {
    const Clock::time_point begin = Clock::now();
    work(repeats);
    const Clock::time_point end = Clock::now();
    const double took = Seconds(end - begin).count();
    if (took >= kShortest) {
      const double each = took / static_cast<double>(repeats);
      best = best == 0 ? each : std::min(best, each);
      if (end >= deadline) return best;
    } else {
      repeats *= 2;  // so the last call may exceed `seconds`, if that is very short
    }
  }
}

int32_t read_bandwidth(int32_t isa, int64_t bytes, double seconds, double* bytes_per_second) {
  constexpr const char* kOperation = "read bandwidth";
  if (const int32_t status = check_run(kOperation, isa, seconds, bytes_per_second); status != FW_OK) return status;
  if (bytes < kLeastBytes || bytes > kMostBytes) {
    return fail(FW_INVALID_ARGUMENT, "%s: bytes is %lld, it must be %lld to %lld", kOperation,
                static_cast<long long>(bytes), static_cast<long long>(kLeastBytes), static_cast<long long>(kMostBytes));
  }
  bytes -= bytes % 512;
  struct alignas(64) Line {
    std::byte of[64];
  };
  const auto count = static_cast<size_t>(bytes) / sizeof(Line);
  const std::unique_ptr<Line[]> lines(new Line[count]);
  for (size_t i = 0; i < count; ++i) lines[i].of[0] = std::byte(i);  // pages never written are all one page of zeros
  const Ceilings& kernels = *ceilings_of(isa);
  const double pass = fastest(seconds, [&](int64_t repeats) {
    for (int64_t i = 0; i < repeats; ++i) keep(kernels.read(lines.get(), bytes));
  });
  *bytes_per_second = static_cast<double>(bytes) / pass;
  return FW_OK;
}

int32_t multiply_add_peak(int32_t isa, int32_t type, double seconds, double* operations_per_second) {
  constexpr const char* kOperation = "multiply-add peak";
  if (const int32_t status = check_run(kOperation, isa, seconds, operations_per_second); status != FW_OK) return status;
  if (type < 0 || type >= kTypes) {
    return fail(FW_INVALID_ARGUMENT, "%s: type is %d, it must be 0 to %d", kOperation, type, kTypes - 1);
  }
  const Ceilings& kernels = *ceilings_of(isa);
  const auto multiply_add = kernels.multiply_add[type];
  if (multiply_add == nullptr) {
    return fail(FW_UNSUPPORTED, "%s: %s has no %s dot product", kOperation, isa_name(isa), kTypeNames[type]);
  }
  const double round = fastest(seconds, [&](int64_t repeats) { keep(multiply_add(repeats)); });
  *operations_per_second = static_cast<double>(kernels.operations_per_round[type]) / round;
  return FW_OK;
}

}  // namespace
}  // namespace fw::cpu

FW_API int32_t fw_read_bandwidth_cpu(int32_t isa, int64_t bytes, double seconds, double* bytes_per_second) {
  return fw::guarded("read bandwidth", [&] { return fw::cpu::read_bandwidth(isa, bytes, seconds, bytes_per_second); });
}

FW_API int32_t fw_multiply_add_peak_cpu(int32_t isa, int32_t type, double seconds, double* operations_per_second) {
  return fw::guarded("multiply-add peak",
                     [&] { return fw::cpu::multiply_add_peak(isa, type, seconds, operations_per_second); });
}
