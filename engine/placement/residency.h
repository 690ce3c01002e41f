// Which weights are kept in another form than the file's blocks, and the making of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "engine/device/device.h"
#include "engine/model/weights.h"
#include "engine/options.h"

namespace sluice::engine {

// The memory of the weights that were given another form. Outlives their handles.
struct ResidentWeights {
  std::vector<std::unique_ptr<Buffer>> buffers;
  uint64_t bytes = 0;                // of the buffers
  uint64_t file_bytes = 0;           // that the same weights take in the file
  std::set<const std::byte*> moved;  // where their blocks begin in the mapped file
};

// Gives weights the form that the device multiplies faster, and turns their handles to it. Automatic does so where a pass
// over the weights then takes less time by the device's own measure and `free_bytes` hold the new form; Fast wherever
// `free_bytes` hold it; File never. Matrices that every token reads come first, then routed experts. The products stay
// the same to the bit. on_bytes is called with the file bytes done of all that will be done; may be empty.
ResidentWeights make_resident(Device& device, Stream& stream, ModelWeights& weights, Residency residency,
                              uint64_t free_bytes, const std::function<void(uint64_t done, uint64_t total)>& on_bytes);

}  // namespace sluice::engine
