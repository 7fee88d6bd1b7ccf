// Functions by which a test controls and watches a libfastwave_cuda that runs on the CPU.
#include "cuda_runtime.h"
#include "fastwave.h"

FW_API void on_cpu_set_seed(uint64_t seed) {
  on_cpu::set_seed(seed);
}
FW_API const char* on_cpu_fault() {
  return on_cpu::fault().c_str();
}
// From now on `function`, one of the CUDA runtime, fails with `error`; with 0 it works again.
FW_API void on_cpu_answer(const char* function, int32_t error) {
  on_cpu::Machine::here().answers[function] = static_cast<cudaError_t>(error);
}
FW_API void on_cpu_machine(int32_t driver, int32_t devices, int32_t multiprocessors, int32_t shared_limit,
                           int32_t capturing, int32_t major, int32_t clusters) {
  on_cpu::Machine& machine = on_cpu::Machine::here();
  machine.driver = driver;
  machine.devices = devices;
  machine.multiprocessors = multiprocessors;
  machine.shared_limit = shared_limit;
  machine.capturing = capturing != 0;
  machine.major = major;
  machine.clusters = clusters;
}
FW_API void on_cpu_last_launch(int32_t* device, void** stream, int32_t* launches, int32_t* allocations) {
  const on_cpu::Machine& machine = on_cpu::Machine::here();
  *device = machine.last_device;
  *stream = machine.last_stream;
  *launches = machine.launches;
  *allocations = machine.allocations;
}
