// Heads on their way to attention, as one launch.
#pragma once

#include <span>

#include "engine/device/cuda/pass.h"
#include "engine/device/device.h"
#include "kernels/cuda/activations.h"

namespace sluice::engine::cuda {

// Whether it has: not where there are more rows than a token's, or more than one launch knows. forms: of the first part; null: none.
bool append_heads(Pass& pass, std::span<const HeadPart> parts, const HeadTurn& turn,
                  const kernels::cuda::Activations* forms);

}  // namespace sluice::engine::cuda
