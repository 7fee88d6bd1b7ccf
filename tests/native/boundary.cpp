// Every function of fastwave.h with null, small and odd arguments, alone and from several threads at once.
// Run under sanitizers by tests/test_sanitizers.py. `boundary overrun` and `boundary race` plant a fault, to show that
// the sanitizers of this machine would see one.
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "fastwave.h"

namespace {

std::atomic<int> checks{0}, failures{0};

#define CHECK(what)                                                   \
  do {                                                                \
    ++checks;                                                         \
    if (!(what)) {                                                    \
      ++failures;                                                     \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
    }                                                                 \
  } while (0)

constexpr int32_t kFarOff[] = {-1, std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()};

std::string last_error() {
  int64_t length = 0;
  CHECK(fw_last_error(nullptr, 0, &length) == FW_OK);
  std::vector<char> exact(static_cast<size_t>(length) + 1, 'x');
  CHECK(fw_last_error(exact.data(), length + 1, nullptr) == FW_OK);
  return exact.data();
}

void check_text(int32_t (*text)(char*, int64_t, int64_t*)) {
  int64_t length = -1;
  CHECK(text(nullptr, 0, nullptr) == FW_OK);
  CHECK(text(nullptr, 0, &length) == FW_OK && length >= 0);
  CHECK(text(nullptr, 1, &length) == FW_INVALID_ARGUMENT);
  for (int64_t capacity = 1; capacity <= length + 1; ++capacity) {  // exact sizes on the heap: one byte more is seen
    std::vector<char> buffer(static_cast<size_t>(capacity), 'x');
    int64_t told = -1;
    CHECK(text(buffer.data(), capacity, &told) == (capacity <= length ? FW_BUFFER_TOO_SMALL : FW_OK));
    CHECK(told == length);
    CHECK(static_cast<int64_t>(std::strlen(buffer.data())) == capacity - 1);
  }
  char one = 'x';
  CHECK(text(&one, 0, nullptr) == FW_INVALID_ARGUMENT);
  CHECK(text(&one, -1, nullptr) == FW_INVALID_ARGUMENT);
  CHECK(text(&one, std::numeric_limits<int64_t>::min(), nullptr) == FW_INVALID_ARGUMENT);
  CHECK(one == 'x');
}

#if defined(FW_CUDA)

void check_library() {
  check_text(fw_build_info_cuda);
  CHECK(fw_device_count_cuda(nullptr) == FW_INVALID_ARGUMENT);
  CHECK(fw_device_cuda(0, nullptr) == FW_INVALID_ARGUMENT);
  int32_t count = -7;
  const int32_t status = fw_device_count_cuda(&count);
  fw_device_t device;
  std::memset(&device, 'x', sizeof device);
  if (status == FW_OK) {
    CHECK(count > 0);
    for (int32_t i = 0; i < count; ++i) CHECK(fw_device_cuda(i, &device) == FW_OK && device.multiprocessors > 0);
    CHECK(fw_device_cuda(count, &device) == FW_INVALID_ARGUMENT);
  } else {
    CHECK(status == FW_NO_DRIVER || status == FW_DRIVER_TOO_OLD || status == FW_NO_DEVICE);
    CHECK(count == -7);
    CHECK(!last_error().empty());
    CHECK(fw_device_cuda(0, &device) == status);
    CHECK(device.name[0] == 'x');
  }
  for (int32_t index : kFarOff) CHECK(fw_device_cuda(index, &device) != FW_OK);
}

void check_message_of_thread(int) {
  CHECK(fw_device_count_cuda(nullptr) == FW_INVALID_ARGUMENT);
  CHECK(last_error() == "fw_device_count_cuda: count is null");
}

#else

constexpr double kSeconds = 1e-3;

void check_bad_runs(double seconds, double* result) {
  CHECK(fw_read_bandwidth_cpu(FW_ISA_PORTABLE, 4096, seconds, result) == FW_INVALID_ARGUMENT);
  CHECK(fw_multiply_add_peak_cpu(FW_ISA_PORTABLE, FW_FLOAT32, seconds, result) == FW_INVALID_ARGUMENT);
}

void check_library() {
  check_text(fw_build_info_cpu);
  CHECK(fw_features_cpu(nullptr) == FW_INVALID_ARGUMENT);
  fw_features_t features;
  std::memset(&features, 'x', sizeof features);
  CHECK(fw_features_cpu(&features) == FW_OK);
  CHECK(features.usable_isas >> features.best_isa == 1);
  CHECK(features.usable_isas & 1 << FW_ISA_PORTABLE);

  double result = -7;
  check_bad_runs(kSeconds, nullptr);
  for (double seconds : {0.0, -1.0, 61.0, std::nan(""), HUGE_VAL, -HUGE_VAL}) check_bad_runs(seconds, &result);
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max(), kLeast = std::numeric_limits<int64_t>::min();
  for (int64_t bytes : {int64_t{0}, int64_t{-1}, int64_t{4095}, (int64_t{1} << 32) + 1, kMost, kLeast}) {
    CHECK(fw_read_bandwidth_cpu(FW_ISA_PORTABLE, bytes, kSeconds, &result) == FW_INVALID_ARGUMENT);
  }
  for (int32_t odd : kFarOff) {
    CHECK(fw_read_bandwidth_cpu(odd, 4096, kSeconds, &result) == FW_INVALID_ARGUMENT);
    CHECK(fw_multiply_add_peak_cpu(odd, FW_FLOAT32, kSeconds, &result) == FW_INVALID_ARGUMENT);
    CHECK(fw_multiply_add_peak_cpu(FW_ISA_PORTABLE, odd, kSeconds, &result) == FW_INVALID_ARGUMENT);
  }
  CHECK(result == -7);

  for (int32_t isa = FW_ISA_PORTABLE; isa <= FW_ISA_AVX512_BF16; ++isa) {
    const bool usable = features.usable_isas >> isa & 1;
    const int32_t expected = usable ? FW_OK : FW_UNSUPPORTED;
    for (int64_t bytes : {4096, 4097, 4607, 5000, 65536}) {  // the last block is never half read
      result = -7;
      CHECK(fw_read_bandwidth_cpu(isa, bytes, kSeconds, &result) == expected);
      CHECK(usable ? result > 0 && std::isfinite(result) : result == -7);
    }
    for (int32_t type : {FW_FLOAT32, FW_BFLOAT16, FW_INT8}) {
      result = -7;
      const int32_t status = fw_multiply_add_peak_cpu(isa, type, kSeconds, &result);
      CHECK(status == expected || (type != FW_FLOAT32 && status == FW_UNSUPPORTED));
      CHECK(status == FW_OK ? result > 0 && std::isfinite(result) : result == -7);
    }
  }
}

void check_message_of_thread(int thread) {
  double result = 0;
  const std::string bytes = "bytes is " + std::to_string(thread);
  CHECK(fw_read_bandwidth_cpu(FW_ISA_PORTABLE, thread, kSeconds, &result) == FW_INVALID_ARGUMENT);
  CHECK(last_error().find(bytes + ",") != std::string::npos);
}

#endif

void check_everything(int thread) {
  CHECK(fw_abi_version() == FW_ABI_VERSION);
  check_text(fw_last_error);
  check_library();
  for (int i = 0; i < 100; ++i) check_message_of_thread(thread);
}

int plant(const std::string& fault) {
  if (fault == "overrun") {
    std::vector<char> small(8);
    fw_last_error(small.data(), 64, nullptr);  // the message of the failure below is longer than 8
  } else if (fault == "race") {
    int shared = 0;
    std::thread other([&] { ++shared; });
    ++shared;
    other.join();
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) {
#if defined(FW_CUDA)
    fw_device_count_cuda(nullptr);
#else
    fw_features_cpu(nullptr);
#endif
    return plant(argv[1]);
  }
  check_everything(1000);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(check_everything, 2000 + i);
  for (std::thread& thread : threads) thread.join();
  std::printf("boundary: %d checks, %d failed\n", checks.load(), failures.load());
  return failures == 0 ? 0 : 1;
}
