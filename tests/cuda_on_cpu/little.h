// Runs the small kernels that test this folder: without an argument, all of them under every schedule; with the name of
// a fault, with that fault planted, under one schedule after the other until it is seen.
#pragma once

#include <cuda_runtime.h>

#include <cstring>

#include "../native/check.h"

constexpr int kSchedules = 8;

template <class Fault, size_t kCount>
int run_little_kernels(int argc, char** argv, const char* const (&names)[kCount], bool (*all_right)(Fault)) {
  if (argc > 1) {
    for (size_t fault = 0; fault < kCount; ++fault) {
      if (strcmp(argv[1], names[fault])) continue;
      for (uint64_t seed = 0; seed < kSchedules; ++seed) {
        on_cpu::set_seed(seed);
        if (all_right(static_cast<Fault>(fault))) continue;
        printf("red: %s\n", on_cpu::fault().empty() ? "wrong numbers" : on_cpu::fault().c_str());
        return 1;
      }
      printf("green\n");
      return 0;
    }
    return 2;
  }
  for (uint64_t seed = 0; seed < kSchedules; ++seed) {
    on_cpu::set_seed(seed);
    CHECK(all_right(Fault{}));
    if (!on_cpu::fault().empty()) fprintf(stderr, "%s\n", on_cpu::fault().c_str());
  }
  printf("little kernels: %d checks, %d failed\n", checks.load(), failures.load());
  return failures == 0 ? 0 : 1;
}
