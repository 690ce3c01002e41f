// Which weights are kept in another form than the file's blocks, and the making of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/device/device.h"
#include "engine/model/weights.h"
#include "engine/options.h"

namespace sluice::engine {

// Weights that were brought into memory of the device's own. Outlives their handles.
struct ResidentWeights {
  std::unique_ptr<Buffer> memory;
  uint64_t bytes = 0;                             // of it
  uint64_t file_bytes = 0;                        // that the same weights take in the file
  std::vector<std::span<const std::byte>> moved;  // where they lie in the mapped file
};

// Brings weights into the device's own memory, and turns their handles to it: what every token reads first, then routed
// experts; as long as they take together no more than `spare_bytes` more there than in the file. Automatic takes for each matrix the form, or plain copy, whose pass takes the
// least time by the device's own measure; Fast the last form that the device offers; File leaves all in the mapped file.
// Products stay the same to the bit. on_bytes is called with the file bytes done of all that will be done; may be empty.
// Throws Error(OutOfMemory).
ResidentWeights make_resident(Device& device, Stream& stream, ModelWeights& weights, Residency residency,
                              uint64_t spare_bytes, const std::function<void(uint64_t done, uint64_t total)>& on_bytes);

}  // namespace sluice::engine
