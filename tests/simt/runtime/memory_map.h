// The memory that emulated kernels may touch: allocations of the emulated devices and pinned host memory. Each lies at the end of its
// pages with an inaccessible page before and behind, is filled with 0xFF bytes (NaN in every float format) when it is made, and
// leaves its addresses unusable for good when it is freed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace sluice::simt {

enum class MemoryKind : uint8_t { Device, Pinned };

struct Allocation {
  std::byte* data = nullptr;
  size_t bytes = 0;
  MemoryKind kind = MemoryKind::Device;
  int device = 0;  // whose; pinned memory may be touched by kernels of every device
  bool is_live = false;
};

// Null when the system has no memory. Alignment: 256 for devices, 64 for pinned memory, of `data`; so up to 255 bytes behind the
// end are not guarded by the page, only by checks. Thread-safe, as is all here.
std::byte* allocate_memory(MemoryKind kind, int device, size_t bytes);
// Host memory of someone else's that was registered as pinned, and let go again.
void register_memory(std::byte* data, size_t bytes);
// False when it is not live memory of the map (an address in its middle is not).
bool free_memory(std::byte* data);

// The allocation whose stretch (guards included) an address lies in, freed ones too.
std::optional<Allocation> find_memory(const void* address);

}  // namespace sluice::simt
