// Where a model's weights will live on a machine, and how fast it will run there: decided from the file's directory, before a
// byte of weights is read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/options.h"
#include "engine/placement/budget.h"
#include "engine/placement/machine.h"
#include "engine/placement/prediction.h"
#include "engine/placement/prompt.h"
#include "engine/store/store_plan.h"
#include "gguf/file.h"

namespace sluice::engine {

// What is asked for, as a run asks for it.
struct PlanOptions {
  uint32_t n_context = 0;  // as it will be
  uint32_t n_batch = 512;
  CacheType cache = CacheType::F16;
  Residency residency = Residency::Automatic;
  Storage storage = Storage::Automatic;
  uint64_t ram_bytes = 0;              // that the process may have; 0: what the machine has, less a margin
  uint32_t most_streamed_rows = 4096;  // of a pass of a prompt for which experts come to the GPU; 0: there are none
  // Of each GPU, in place of what the machine's have: a single one for all, 0 for none; or one for each.
  std::vector<uint64_t> vram_bytes;
};

// What one memory holds.
struct TierUse {
  uint64_t capacity_bytes = 0;  // that the process may have
  uint64_t margin_bytes = 0;    // of these, kept free
  uint64_t weight_bytes = 0;
  uint64_t state_bytes = 0;      // keys and values of a full context
  uint64_t workspace_bytes = 0;  // of passes
  uint64_t program_bytes = 0;    // code, vocabulary, the driver's own

  uint64_t used_bytes() const { return weight_bytes + state_bytes + workspace_bytes + program_bytes; }
};

// One of the machine's GPUs, and the layers that it computes: as engine/placement/layer_split.h divides them. Nothing of it is used where
// it has none.
struct GpuPlan {
  TierUse use;
  uint32_t first_layer = 0, end_layer = 0;

  bool has_layers() const { return first_layer < end_layer; }
};

struct Plan {
  PlanOptions options;
  ModelWork work;                  // groups with the forms that they take in RAM
  std::vector<GroupPlace> places;  // of each group
  TierUse vram;                    // of all GPUs that are used, together
  std::vector<GpuPlan> gpus;       // each of the machine's; empty where none is used
  TierUse ram;
  // Weights that RAM does not hold: in steady state they are read as they are used.
  uint64_t disk_weight_bytes = 0;
  Storage storage = Storage::Mapped;  // Mapped or Disk
  std::optional<StorePlan> store;     // how the memory is divided then; absent where a GPU holds a part
  bool fits = true;                   // false: too little memory for any store; nothing is predicted

  MissSharing sharing;                    // what GPU and CPU can do with what VRAM does not hold
  Prediction decode;                      // with half of the context full, every expert equally likely
  Prediction decode_full;                 // the same behind a full context
  PromptPrediction prefill;               // of as many tokens as are evaluated at once
  std::vector<PromptPrediction> prompts;  // of 1024, 8192 and 32768 tokens, and of a full context if it is shorter
};

// The places that a store gives: which dense parts stay, and the slots of a class spread over its layers.
std::vector<GroupPlace> places_in_store(const ModelWork& work, const StoreInventory& inventory, const StorePlan& store);
// Everything in RAM.
std::vector<GroupPlace> places_in_ram(const ModelWork& work);

// The machine as the options have it: without a GPU, or with another size of one.
Machine machine_for(const Machine& machine, const PlanOptions& options);

// `spec` describes `file`, which is mapped; `session` is what a session of these options takes; program_bytes: what the process
// takes before a model; passes: how a shared model's passes are cut, without most_rows and GPUs, which the plan knows.
Plan make_plan(const gguf::File& file, const ModelSpec& spec, const SessionMemory& session, uint64_t program_bytes,
               const Machine& machine, const PlanOptions& options, const PromptRules& passes = {});

// The bytes of a group in each tier, as they lie there: weights in VRAM and on the disk are in the file's blocks.
struct TierBytes {
  uint64_t vram = 0, ram = 0, disk = 0;
};
TierBytes bytes_by_tier(const WeightGroup& group, const GroupPlace& place);

}  // namespace sluice::engine
