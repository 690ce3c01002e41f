#include "engine/session/weight_storage.h"

#include <algorithm>
#include <vector>

#include "engine/placement/forms.h"
#include "engine/store/heat_map.h"

namespace sluice::engine {

static std::string mebibytes(uint64_t bytes) {
  return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB";
}

[[noreturn]] static void refuse(const std::filesystem::path& path, uint64_t least, uint64_t bytes,
                                const ModelOptions& options, const MemoryBudget& budget) {
  throw Error(Error::Kind::OutOfMemory,
              path.string() + ": This model needs at least " + mebibytes(least + budget.other_bytes()) +
                  " of memory here (" + mebibytes(least) + " for weights as they pass, " +
                  mebibytes(budget.other_bytes()) + " for the program and a session), but it has " +
                  mebibytes(options.store.store_bytes > 0 ? bytes + budget.other_bytes() : budget.ram_bytes) +
                  "; allow more (--ram), or take a shorter context (-c) or smaller batches (-b).");
}

static std::unique_ptr<DiskStore> open_store(DiskStorage& storage, Device& device, StoreInventory inventory,
                                             const StorePlan& plan, const ModelOptions& options, Device* beside) {
  DiskStoreOptions store_options{options.store.policy, options.store.guesses, {}, beside};
  if (!options.store.heat_folder.empty())
    store_options.heat = read_heat(heat_path(options.store.heat_folder, storage.model_key), storage.model_key);
  std::unique_ptr<Disk> disk = open_disk(*storage.files, options.store.access);
  if (options.store.wrap_disk) disk = options.store.wrap_disk(std::move(disk));
  return std::make_unique<DiskStore>(device, std::move(inventory), plan, *storage.files, std::move(disk),
                                     store_options);
}

std::unique_ptr<WeightStore> open_disk_storage(DiskStorage& storage, Device& device, const std::filesystem::path& path,
                                               const gguf::File& file, const ModelSpec& spec, ModelWeights& weights,
                                               const ModelOptions& options, const MemoryBudget& budget) {
  storage.files = std::make_unique<DiskFiles>(file.shard_paths());
  storage.model_key = content_key(file, *storage.files);
  const uint64_t block_bytes = storage.files->block_bytes();

  const uint64_t bytes = options.store.store_bytes > 0 ? options.store.store_bytes : budget.weight_bytes;
  StoreInventory inventory = take_inventory(weights, file, output_piece_bytes(bytes));
  const int64_t n_batch = options.session.n_batch;
  const uint64_t least = least_store_bytes(inventory, n_batch, block_bytes);
  if (bytes < least) refuse(path, least, bytes, options, budget);

  uint64_t all = least;  // more than everything is of no use
  all += dense_bytes(inventory, block_bytes);
  for (const ExpertTensors& experts : inventory.experts)
    for (const ExpertTensor& part : experts.parts)
      all += static_cast<uint64_t>(experts.n_experts) * (part.matrix_bytes + 2 * block_bytes);
  choose_store_forms(inventory, offers_of(device), options.residency, n_batch, bytes, block_bytes);
  all += kept_dense_bytes(inventory, block_bytes) - dense_bytes(inventory, block_bytes);
  const uint64_t prompt_bytes = options.store.store_bytes > 0 ? options.store.prompt_bytes : budget.prompt_bytes;
  const StorePlan plan = plan_store(inventory, n_batch, std::min(bytes, all), prompt_bytes, block_bytes);
  storage.work = work_of(spec, weights, options.session.cache, &inventory);
  storage.places = places_in_store(storage.work, inventory, plan);
  return open_store(storage, device, std::move(inventory), plan, options, nullptr);
}

std::unique_ptr<DiskStore> open_expert_storage(DiskStorage& storage, Device& cpu, Device& beside,
                                               const std::filesystem::path& path, const gguf::File& file,
                                               const ModelWeights& weights, const ModelOptions& options,
                                               std::span<const uint32_t> n_on_device, const MemoryBudget& budget,
                                               uint64_t bytes) {
  storage.files = std::make_unique<DiskFiles>(file.shard_paths());
  storage.model_key = content_key(file, *storage.files);
  const uint64_t block_bytes = storage.files->block_bytes();
  if (options.store.store_bytes > 0) bytes = options.store.store_bytes;
  StoreInventory inventory = take_expert_inventory(weights, file);
  const uint64_t least = least_store_bytes(inventory, 0, block_bytes);
  if (bytes < least) refuse(path, least, bytes, options, budget);
  const StorePlan plan = plan_expert_store(inventory, n_on_device, bytes, block_bytes);
  return open_store(storage, cpu, std::move(inventory), plan, options, &beside);
}

std::vector<float> learned_heat(DiskStorage& storage, const gguf::File& file, const StoreOptions& options) {
  if (options.heat_folder.empty()) return {};
  try {
    storage.model_key = content_key(file, DiskFiles(file.shard_paths()));
    return read_heat(heat_path(options.heat_folder, storage.model_key), storage.model_key);
  } catch (const std::exception&) {
    return {};  // a help and no more
  }
}

void save_heat(const DiskStorage& storage, std::span<const float> heat, const StoreOptions& options) noexcept {
  if (options.heat_folder.empty() || storage.model_key == 0) return;
  if (std::ranges::all_of(heat, [](float uses) { return uses <= 0; }))
    return;  // the next run shall have what was known before
  try {
    write_heat(heat_path(options.heat_folder, storage.model_key), storage.model_key, heat);
  } catch (const std::exception&) {
    // What was learned is a help for the next run and no more.
  }
}

}  // namespace sluice::engine
