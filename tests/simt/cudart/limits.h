// What blocks and multiprocessors of each compute capability can hold (CUDA C++ Programming Guide, "Technical Specifications per
// Compute Capability").
#pragma once

#include <cstdint>

#include "tests/simt/cudart/emulated_gpu.h"

namespace sluice::simt {

struct Limits {
  uint32_t shared_per_block = 48 * 1024;  // without asking for more
  uint32_t shared_per_block_opt_in = 0;
  uint32_t shared_per_multiprocessor = 0;
  uint32_t reserved_shared_per_block = 0;
  int threads_per_multiprocessor = 0;
  int blocks_per_multiprocessor = 0;
  uint32_t threads_per_block = 1024;
  Extent block{1024, 1024, 64};
  Extent grid{2147483647, 65535, 65535};
};
Limits limits_of(const DeviceModel& device);

}  // namespace sluice::simt
