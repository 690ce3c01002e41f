// Opening a model's weights: how much memory they may have, and where they stay.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "engine/engine.h"
#include "engine/session/session_memory.h"
#include "engine/store/disk_store.h"

namespace sluice::engine {

struct MemoryBudget {
  uint64_t ram_bytes = 0;     // of this process, all told
  uint64_t weight_bytes = 0;  // of these for weights
  uint64_t other_bytes = 0;   // for everything else: the program, its vocabulary, the session, a margin
  uint64_t prompt_bytes = 0;  // of these only for the passes of prompts
};

// From what the user allows, or what is free, less what this process has by now and a session needs.
MemoryBudget memory_budget(const ModelOptions& options, const SessionMemory& session);

// Should the store read the disk, with so many bytes of weights in the file?
bool wants_disk(const StoreOptions& options, const MemoryBudget& budget, uint64_t weight_bytes);

// What a store on the disk needs to live as long as it does.
struct DiskStorage {
  std::unique_ptr<DiskFiles> files;
  uint64_t model_key = 0;  // of what is in the file, for heat
};

// Throws Error(OutOfMemory) when the budget holds no store at all.
std::unique_ptr<WeightStore> open_disk_storage(DiskStorage& storage, Device& device, const std::filesystem::path& path,
                                               const gguf::File& file, ModelWeights& weights,
                                               const ModelOptions& options, const MemoryBudget& budget);

// Writes what the store has learned where the options say; failing is no error.
void save_heat(const DiskStorage& storage, const WeightStore& store, const StoreOptions& options) noexcept;

}  // namespace sluice::engine
