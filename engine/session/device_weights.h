// Bringing the weights of a model into a device's own memory, as many as it holds.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/device/device.h"
#include "engine/model/layer_range.h"
#include "engine/model/weights.h"
#include "gguf/file.h"

namespace sluice::engine {

struct DeviceWeights {
  std::vector<std::unique_ptr<Buffer>> buffers;
  uint64_t bytes = 0;             // of tensors
  uint64_t host_dense_bytes = 0;  // of feed-forwards and output that stay in the file, for the host to multiply
  // The device has all that passes read and runs them alone; else the host has a part in them, and all experts stay in the file, for a
  // VRAM tier to choose from.
  bool is_whole = true;
  bool has_experts = false;
  std::vector<std::span<const std::byte>> elsewhere;  // copies that found no room in the device's own memory

  bool is_elsewhere(const std::byte* address) const;
};

// Bytes for caches and passes.
struct KeptFree {
  uint64_t alone = 0;   // of a device that has the whole model
  uint64_t shared = 0;  // of one that does not
};

// Copies tensors that a pass reads and turns the handles to the copies: attention, routers and norms, which the device keeps elsewhere, a
// layer's attention as a whole, when its own memory is full; then, while there is room for the whole of each, the output, feed-forwards and shared experts of layers; and all
// experts, if there is room for the whole model. What has none stays in the file (Place::MappedFile). The
// embedding table stays there too, where the host takes single rows from it, unless it is the output matrix as well; and so do the rope
// factors. Of a model that several devices have, each gets its layers, and the last one the output; the embedding then stays in the file in
// any case. Throws Error when there is no memory at all.
DeviceWeights move_to_device(Device& device, Stream& stream, const gguf::File& file, ModelWeights& weights,
                             const KeptFree& kept_free,
                             const std::function<void(uint64_t done, uint64_t total)>& on_bytes,
                             LayerRange layers = {});

}  // namespace sluice::engine
