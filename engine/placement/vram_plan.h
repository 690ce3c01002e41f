// What lies in VRAM, and on which GPU.
#pragma once

#include <cstdint>

#include "engine/placement/plan.h"

namespace sluice::engine {

// Gives the plan's groups their places in the memory of the machine's GPUs, with their caches and the passes of a session, as a run fills it
// (engine/session/device_weights.h, engine/store/vram_tier.h): plan.places, plan.vram and plan.gpus, from plan.work. Nothing where there is no
// GPU, or none has room for a pass.
void fill_vram(Plan& plan, const SessionMemory& session, const Machine& machine);

// Whether the GPU computes by groups of this role wherever they are: the CPU does not.
bool is_always_gpus(GroupRole role);

// A GPU's size for a plan that is to have so many bytes there for weights, caches and passes, beside what plans keep for others.
uint64_t vram_capacity_for(uint64_t room_bytes);
// And those bytes of a GPU of a size.
uint64_t vram_room_of(uint64_t capacity_bytes);

}  // namespace sluice::engine
