// A check that counts, says where it failed, and lets the others go on.
#pragma once

#include <atomic>
#include <cstdio>

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

}  // namespace
