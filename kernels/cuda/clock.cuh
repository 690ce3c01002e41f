// The GPU's clock.
#pragma once

#include <cstdint>

namespace sluice::kernels::cuda {

__device__ inline uint64_t nanoseconds() {
  uint64_t now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}

}  // namespace sluice::kernels::cuda
