// What a session takes of memory besides weights.
#pragma once

#include <cstdint>

#include "engine/engine.h"
#include "engine/model/weights.h"
#include "engine/placement/budget.h"

namespace sluice::engine {

// The context that a session of these options has.
uint32_t session_context(const ModelSpec& spec, const SessionOptions& options);

// Counted by running forward passes on a device without memory: every architecture and every form of attention is counted as
// it runs.
SessionMemory session_memory(const ModelSpec& spec, const ModelWeights& weights, LatentAttention latent_attention,
                             const SessionOptions& options);

}  // namespace sluice::engine
