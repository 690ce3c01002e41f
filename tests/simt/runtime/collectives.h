// How the lanes of a warp meet.
#pragma once

#include "tests/simt/runtime/block.h"

namespace sluice::simt {

// Does what the operation does, for the lanes that met; Thread::request is each one's.
using Complete = void (*)(Warp& warp, uint32_t lanes);

// Waits until all lanes of the mask that have not exited are here. is_aligned: they must have come by the same instruction.
void meet_lanes(CollectiveKind kind, uint32_t mask, void* request, Complete complete, bool is_aligned, uint32_t site);

template <class Action>
void for_each_lane(uint32_t lanes, Action action) {
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) action(uint32_t(__builtin_ctz(rest)));
}

}  // namespace sluice::simt
