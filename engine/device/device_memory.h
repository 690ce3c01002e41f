#pragma once

#include <cstdint>

namespace sluice::engine {

// Memory that a device's buffers take, and what its own memory is in all.
struct DeviceMemory {
  uint64_t device_bytes = 0;  // of its own memory
  uint64_t host_bytes = 0;    // of the host's, because its own was full
  uint64_t free_bytes = 0;    // of its own, now
  uint64_t total_bytes = 0;
};

}  // namespace sluice::engine
