// One source, several instruction sets, one choice when the library runs.
//
// CMake compiles each file of kernels once per rung of the ladder FW_ISA_*, with that rung's flags and FW_ISA set to
// its name. Everything in such a file lives in namespace fw::cpu::FW_ISA and is reached through one table of functions.
// It must not use headers with inline functions (<algorithm>, <vector>, <chrono>, ...): the linker keeps one copy of
// those for all rungs, and if that is the AVX-512 one, an older processor dies in std::min. A test looks for such
// copies.
#pragma once

#include <stdint.h>

#include "build_info.h"
#include "fastwave.h"

namespace fw::cpu {

const char* isa_name(int32_t isa);

// FW_OK where kernels of this rung can run; else a status and a message that begins with `operation`.
int32_t check_isa(const char* operation, int32_t isa);

}  // namespace fw::cpu

// FW_TABLE(Ceilings, ceilings) declares fw::cpu::<rung>::ceilings for each rung and defines ceilings_of(isa).
#define FW_TABLE(Type, table)                              \
  FW_FOR_EACH_ISA(FW_TABLE_DECLARE, Type, table)           \
  inline const fw::cpu::Type* table##_of(int32_t isa) {    \
    switch (isa) { FW_FOR_EACH_ISA(FW_TABLE_CASE, table) } \
    return nullptr;                                        \
  }
#define FW_TABLE_DECLARE(rung, RUNG, Type, table) \
  namespace fw::cpu::rung {                       \
  extern const Type table;                        \
  }
#define FW_TABLE_CASE(rung, RUNG, table) \
  case FW_ISA_##RUNG:                    \
    return &fw::cpu::rung::table;
