// How much memory a process may have, and how much of it is left for weights.
#pragma once

#include <cstdint>

#include "engine/options.h"

namespace sluice::engine {

// What a session takes besides weights.
struct SessionMemory {
  uint64_t state_bytes = 0;       // keys and values of a full context
  uint64_t pass_bytes = 0;        // the most that a forward pass takes, and the logits
  uint64_t small_pass_bytes = 0;  // the same for passes of kSmallPassRows (engine/store/disk_store.h)

  // The most that a pass takes of a GPU that has the whole model.
  uint64_t gpu_pass_bytes = 0;
  // On a GPU that leaves a part of each pass to the CPU: its passes of kMostSharedRows (engine/forward/host_side.h) over a full context;
  // and while the context is short yet, what it has of state and passes.
  uint64_t shared_pass_bytes = 0;
  uint64_t first_state_bytes = 0, first_pass_bytes = 0;

  uint64_t bytes() const { return state_bytes + pass_bytes; }
  uint64_t gpu_bytes() const { return state_bytes + gpu_pass_bytes; }
  uint64_t shared_bytes() const { return state_bytes + shared_pass_bytes; }
  uint64_t first_bytes() const { return first_state_bytes + first_pass_bytes; }
};

struct MemoryBudget {
  uint64_t ram_bytes = 0;      // of this process, all told
  uint64_t margin_bytes = 0;   // of these, kept free for what nobody counts
  uint64_t program_bytes = 0;  // the program, its vocabulary, what libraries keep
  uint64_t session_bytes = 0;
  uint64_t prompt_bytes = 0;  // of a session's, only for the passes of prompts
  uint64_t weight_bytes = 0;  // what is left

  uint64_t other_bytes() const { return margin_bytes + program_bytes + session_bytes; }
};

// given_bytes: what the user allows, or 0; then free_bytes is what the system has left, beside what this process has by now.
MemoryBudget memory_budget(uint64_t given_bytes, uint64_t free_bytes, uint64_t program_bytes,
                           const SessionMemory& session);

// Should the store read the disk, with so many bytes of weights in the file?
bool wants_disk(const StoreOptions& options, const MemoryBudget& budget, uint64_t weight_bytes);

// Should experts that GPUs do not hold lie in the store's own memory, even where it holds them all? GPUs can read that, because it is
// pinned, and a mapped file's pages they cannot: then they take part in misses, and prompts stream.
bool wants_pinned_experts(const StoreOptions& options);

}  // namespace sluice::engine
