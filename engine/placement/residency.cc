#include "engine/placement/residency.h"

#include <algorithm>

#include "engine/placement/memory.h"

namespace sluice::engine {

ResidentWeights make_resident(Device& device, Stream& stream, std::span<const ChosenForm> chosen,
                              const std::function<void(uint64_t, uint64_t)>& on_bytes) {
  ResidentWeights resident;
  uint64_t total = 0;
  for (const ChosenForm& one : chosen) {
    resident.bytes += one.memory_bytes();
    total += one.file_bytes();
  }
  if (chosen.empty()) return resident;
  resident.memory = device.allocate(resident.bytes);
  auto* to = static_cast<std::byte*>(resident.memory->data());
  for (const ChosenForm& one : chosen) {
    LinearStack stack = one.as_stack();
    const uint64_t file_bytes = one.file_bytes();
    const std::byte* of_file = stack.first.data;
    device.make_resident(stream, stack, one.offer, to, [&](uint64_t done) {
      if (on_bytes) on_bytes(resident.file_bytes + done, total);
    });
    to += one.memory_bytes();
    resident.moved.push_back({of_file, file_bytes});
    resident.file_bytes += file_bytes;
    forget_pages(of_file, file_bytes);
    if (one.stack != nullptr)
      *one.stack = stack;
    else
      *one.single = stack.first;
  }
  return resident;
}

}  // namespace sluice::engine
