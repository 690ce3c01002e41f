// Which layers of a model lie on which GPU: as plans have it, and runs.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/placement/budget.h"
#include "engine/placement/layer_split.h"
#include "engine/placement/model_work.h"

namespace sluice::engine {

// What layers [first, end) of n_layers have of a whole that all share alike, so that such parts add up to it.
uint64_t part_of(uint64_t whole, uint32_t first, uint32_t end, uint32_t n_layers);

// What each layer takes of VRAM; state_bytes: of each layer's caches.
std::vector<LayerCost> layer_costs(const ModelWork& work, std::span<const uint64_t> state_bytes);

struct GpuSplit {
  std::vector<uint32_t> ends;  // of each GPU's layers (engine/placement/layer_split.h)
  bool is_whole = false;       // the GPUs hold all of the model, and passes that they compute alone
};
// With room for passes that the GPUs compute alone where these hold all of the model, else for such as they share with the CPU. `session`: of
// a GPU that would have all layers.
GpuSplit split_over_gpus(const ModelWork& work, std::span<const uint64_t> state_bytes, const SessionMemory& session,
                         std::span<const GpuRoom> gpus);

}  // namespace sluice::engine
