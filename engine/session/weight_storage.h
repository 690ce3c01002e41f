// Opening a model's weights in a store that reads the disk.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/placement/budget.h"
#include "engine/placement/plan.h"
#include "engine/store/disk_store.h"

namespace sluice::engine {

// What a store on the disk needs to live as long as it does.
struct DiskStorage {
  std::unique_ptr<DiskFiles> files;
  uint64_t model_key = 0;  // of what is in the file, for heat
  ModelWork work;          // with the forms that dense weights take
  std::vector<GroupPlace> places;
};

// `spec` is that of the weights. Throws Error(OutOfMemory) when the budget holds no store at all.
std::unique_ptr<WeightStore> open_disk_storage(DiskStorage& storage, Device& device, const std::filesystem::path& path,
                                               const gguf::File& file, const ModelSpec& spec, ModelWeights& weights,
                                               const ModelOptions& options, const MemoryBudget& budget);

// Experts alone, beside a device whose tier holds n_on_device of each layer, in `bytes`. Otherwise as above; weights other than those of
// experts may be anywhere. `cpu` multiplies what the store holds, `beside` is the other device.
std::unique_ptr<DiskStore> open_expert_storage(DiskStorage& storage, Device& cpu, Device& beside,
                                               const std::filesystem::path& path, const gguf::File& file,
                                               const ModelWeights& weights, const ModelOptions& options,
                                               std::span<const uint32_t> n_on_device, const MemoryBudget& budget,
                                               uint64_t bytes);

// What earlier runs have learned of the model in the file, where the options say; empty: nothing, or it cannot be read. Sets the storage's key.
std::vector<float> learned_heat(DiskStorage& storage, const gguf::File& file, const StoreOptions& options);
// Writes what a run has learned; nothing where it learned nothing. Failing is no error.
void save_heat(const DiskStorage& storage, std::span<const float> heat, const StoreOptions& options) noexcept;

}  // namespace sluice::engine
