#pragma once

#include <algorithm>
#include <cstdint>

namespace sluice::engine {

// Memory that a device's buffers take, and what its own memory is in all.
struct DeviceMemory {
  uint64_t device_bytes = 0;  // of its own memory
  uint64_t host_bytes = 0;    // of the host's, because its own was full
  uint64_t free_bytes = 0;    // of its own, now
  uint64_t total_bytes = 0;
};

inline DeviceMemory operator+(const DeviceMemory& a, const DeviceMemory& b) {
  return {a.device_bytes + b.device_bytes, a.host_bytes + b.host_bytes, a.free_bytes + b.free_bytes,
          a.total_bytes + b.total_bytes};
}

// Of a GPU's memory, kept free: for the driver's own needs, graphs, and what a desktop takes meanwhile. The engine keeps it, and plans count
// with it.
constexpr uint64_t vram_margin(uint64_t total_bytes) {
  return std::min(uint64_t{256} << 20, total_bytes / 40);
}

// What a GPU gives for an allocation of so many bytes.
constexpr uint64_t vram_bytes(uint64_t bytes) {
  constexpr uint64_t kGranule = 512;
  return (bytes + kGranule - 1) / kGranule * kGranule;
}

// What a matrix takes in a slot that an expert has there, where each begins at a multiple of this.
constexpr uint64_t in_slot(uint64_t bytes) {
  constexpr uint64_t kAlignment = 256;
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace sluice::engine
