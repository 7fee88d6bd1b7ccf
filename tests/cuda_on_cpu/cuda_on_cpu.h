// CUDA on the CPU: with this folder first among the include paths, a C++ compiler builds the very sources that nvcc
// builds, and a launch runs them here: every block is an OS thread, every CUDA thread a fiber (fibers.h) of it.
//
// A fiber runs until it waits: at a block barrier, a warp operation, a named or a cluster barrier. Which one goes next
// is drawn from a seed, so each seed is another schedule. What can be wrong with waiting is found by what must hold
// when all fibers of a block wait: every thread of the block stands at the same barrier, in the same line of the
// source; every lane of a mask takes part in the warp operation; no thread has ended while others wait for it. A launch
// with such a fault ends with cudaErrorLaunchFailure, and fault() says what it was.
//
// Memory of a block and of the device is filled with NaN when it is made and when it ends, and has its exact size, so
// that AddressSanitizer sees an overrun and a result shows what was never written. The sanitizers know of the fibers.
//
// What this does not show: weak memory order, real rounding of the special functions, speed.
#pragma once

#include "barriers.h"
#include "clusters.h"
#include "language.h"
#include "schedule.h"
