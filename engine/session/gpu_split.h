// Which layers of a model lie on which GPU, as a run opens it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "engine/placement/budget.h"
#include "engine/placement/layer_split.h"
#include "engine/placement/model_work.h"

namespace sluice::engine {

// What each layer takes of VRAM; state_bytes: of each layer's caches.
std::vector<LayerCost> layer_costs(const ModelWork& work, std::span<const uint64_t> state_bytes);

// The end of each GPU's layers (engine/placement/layer_split.h): with room for passes that the GPUs compute alone where these hold all of
// the model, else for such as they share with the CPU. `session`: of a GPU that would have all layers.
std::vector<uint32_t> split_over_gpus(const ModelWork& work, std::span<const uint64_t> state_bytes,
                                      const SessionMemory& session, std::span<const GpuRoom> gpus);

// Do the first of the GPUs hold so many bytes of weights and a session, as far as sums tell?
bool hold_all(std::span<const GpuRoom> gpus, uint64_t weight_bytes, const SessionMemory& session);

}  // namespace sluice::engine
