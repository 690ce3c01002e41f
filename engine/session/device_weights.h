// Bringing the weights of a model into a device's own memory, as many as it holds.
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
  uint64_t bytes = 0;             // of tensors
  uint64_t host_dense_bytes = 0;  // of feed-forwards and output that stay in the file, for the host to multiply
  bool has_all_experts = true;    // false: they stay in the file, for a VRAM tier to choose from
};

// Copies tensors that a pass reads and turns the handles to the copies: attention, routers and norms, which the device keeps elsewhere when
// its own memory is full; then, while there is room for the whole of each, the output, feed-forwards and shared experts of layers; then all
// experts, if there is room for all. What has none stays in the file (Place::MappedFile). keep_free: bytes for caches and passes. The
// embedding table stays there too, where the host takes single rows from it, unless it is the output matrix as well; and so do the rope
// factors. Throws Error when there is no memory at all.
DeviceWeights move_to_device(Device& device, Stream& stream, const gguf::File& file, ModelWeights& weights,
                             uint64_t keep_free, const std::function<void(uint64_t done, uint64_t total)>& on_bytes);

}  // namespace sluice::engine
