// Why the engine cannot do what a caller asks for, as the end of a sentence; null where it can.
#pragma once

#include "cpu/generation/engine.h"

namespace fw::cpu {

const char* run_fault(const Network& n, const fw_run_t& r);
const char* past_fault(const Network& n, const fw_run_t& r);  // of a past that streams are to be primed with

}  // namespace fw::cpu
