// Bringing weights into memory of the device's own, in the form that was chosen for them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/device/device.h"
#include "engine/placement/forms.h"

namespace sluice::engine {

// Weights that were brought into memory of the device's own. Outlives their handles.
struct ResidentWeights {
  std::unique_ptr<Buffer> memory;
  uint64_t bytes = 0;                             // of it
  uint64_t file_bytes = 0;                        // that the same weights take in the file
  std::vector<std::span<const std::byte>> moved;  // where they lie in the mapped file
};

// Brings the chosen weights (engine/placement/forms.h) into the device's own memory, and turns their handles to it. Products stay
// the same to the bit. on_bytes is called with the file bytes done of all that will be done; may be empty. Throws
// Error(OutOfMemory).
ResidentWeights make_resident(Device& device, Stream& stream, std::span<const ChosenForm> chosen,
                              const std::function<void(uint64_t done, uint64_t total)>& on_bytes);

}  // namespace sluice::engine
