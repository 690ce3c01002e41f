// Bringing all weights of a model into a device's own memory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "engine/device/device.h"
#include "engine/model/weights.h"
#include "gguf/file.h"

namespace sluice::engine {

struct DeviceWeights {
  std::vector<std::unique_ptr<Buffer>> buffers;
  uint64_t bytes = 0;  // of tensors
};

// Copies every tensor that a pass reads and turns the handles to the copies: dense weights first, then experts, so that these are
// what the device keeps elsewhere when its own memory is full. keep_free: bytes of it for caches and passes. The embedding table
// stays in the file, where the host takes single rows from it, unless it is the output matrix as well; the rope factors stay too. Throws
// Error when there is no memory at all.
DeviceWeights move_to_device(Device& device, Stream& stream, const gguf::File& file, ModelWeights& weights,
                             uint64_t keep_free, const std::function<void(uint64_t done, uint64_t total)>& on_bytes);

}  // namespace sluice::engine
