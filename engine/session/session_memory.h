// What a session takes of memory besides weights.
#pragma once

#include <cstdint>

#include "engine/engine.h"
#include "engine/model/weights.h"

namespace sluice::engine {

struct SessionMemory {
  uint64_t state_bytes = 0;       // keys and values of a full context
  uint64_t pass_bytes = 0;        // the most that a forward pass takes, and the logits
  uint64_t small_pass_bytes = 0;  // the same for passes of kSmallPassRows (engine/store/disk_store.h)

  uint64_t bytes() const { return state_bytes + pass_bytes; }
};

// The context that a session of these options has.
uint32_t session_context(const ModelSpec& spec, const SessionOptions& options);

// Counted by running forward passes on a device without memory: every architecture and every form of attention is counted as
// it runs.
SessionMemory session_memory(const ModelSpec& spec, const ModelWeights& weights, LatentAttention latent_attention,
                             const SessionOptions& options);

}  // namespace sluice::engine
