// What the machine can do at most, measured: the limits that kernels are held against.
#pragma once

#include <cstdint>

namespace sluice::bench {

// Cycles a second of one core at work, from a chain of additions that each wait for the one before: one cycle each on
// every x86-64 core. The best of some short trials, so that neighbours do not count.
double core_clock();

// Bytes; a guess of 32 MiB where the system does not say.
uint64_t last_level_cache_bytes();

}  // namespace sluice::bench
