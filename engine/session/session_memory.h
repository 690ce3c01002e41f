// What a session takes of memory besides weights.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/engine.h"
#include "engine/model/layer_range.h"
#include "engine/model/weights.h"
#include "engine/placement/budget.h"

namespace sluice::engine {

// The context that a session of these options has.
uint32_t session_context(const ModelSpec& spec, const SessionOptions& options);

// Counted by running forward passes on a device without memory: every architecture and every form of attention is counted as
// it runs.
// The context for which there is room from the beginning, where experts give way to a longer one.
inline constexpr int64_t kFirstPositions = 512;

// What a pass of so many rows, which end at n_positions, takes of a GPU that leaves a part of it to the CPU, without cells.
uint64_t shared_pass_bytes(const ModelSpec& spec, const ModelWeights& weights, LatentAttention latent_attention,
                           CacheType cache, int64_t n_rows, int64_t n_positions, LayerRange layers = {});

// Of a device that has these layers.
SessionMemory session_memory(const ModelSpec& spec, const ModelWeights& weights, LatentAttention latent_attention,
                             const SessionOptions& options, LayerRange layers = {});

// What the caches of each layer take in a full context of a session.
std::vector<uint64_t> state_bytes_of_layers(const ModelSpec& spec, const SessionOptions& options);

}  // namespace sluice::engine
