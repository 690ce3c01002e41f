// Attention of a pass, in the launches that attention_choice.h chooses.
#pragma once

#include <cstdint>
#include <span>

#include "engine/device/cuda/input.h"
#include "engine/device/cuda/pass.h"
#include "engine/device/device.h"
#include "kernels/cuda/activations.h"

namespace sluice::engine::cuda {

// As Device::attention(). forms: to be made of what it gives; null: none.
void append_attention(Pass& pass, Scratch& scratch, const AttentionShape& shape, Rows q,
                      std::span<const CacheView* const> caches, std::span<const int32_t> n_visible, Rows out,
                      const kernels::cuda::Activations* forms);

}  // namespace sluice::engine::cuda
