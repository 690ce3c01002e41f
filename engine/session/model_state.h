// What an opened model is made of.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "engine/forward/forward.h"
#include "engine/model/layer_range.h"
#include "engine/model/spec.h"
#include "engine/model/weights.h"
#include "engine/placement/budget.h"
#include "engine/placement/residency.h"
#include "engine/session/device_choice.h"
#include "engine/session/device_weights.h"
#include "engine/session/weight_storage.h"
#include "engine/store/vram_tier.h"

namespace sluice::engine {

// What a GPU has of a model.
struct GpuPart {
  LayerRange layers;
  SessionMemory session;  // of these layers
  DeviceWeights weights;
};

struct Model::State {
  ModelOptions options;
  uint32_t n_threads;
  gguf::File file;
  tokenizer::Tokenizer tokenizer;
  ModelSpec spec;
  ModelWeights weights;
  uint64_t ram_budget_bytes = 0;
  SessionMemory session;
  ResidentWeights resident;
  DiskStorage disk;
  std::unique_ptr<ForwardContext> context;
  ModelWork work;
  std::vector<GroupPlace> places;
  std::optional<Machine> machine;
  ChosenDevice device{};        // its devices are the context's
  std::vector<GpuPart> gpus{};  // of each stage of the context

  // The machine as it was described, or else its CPU as it is measured on `device`.
  const Machine& measured(Device& device);
  // Says which GPU has which layers, and makes the context.
  void split_over_gpus();
  // The GPU's weights are moved there. The result: the VRAM tier, where some experts are the host's.
  std::unique_ptr<VramTier> open_on_gpu(Device& gpu, GpuPart& part, std::span<const float> heat,
                                        const std::function<void(uint64_t done)>& on_bytes);
  // What the GPUs do not hold of the experts, from the disk into memory of a set size; null where a mapped file was asked for. `cpu` multiplies
  // it. tiers: of each GPU, null where that has all of its experts.
  std::unique_ptr<DiskStore> open_experts(Device& cpu, std::span<const std::unique_ptr<VramTier>> tiers,
                                          const std::filesystem::path& path, const MemoryBudget& budget);
  // The number of the stage that has a layer.
  size_t stage_of(uint32_t layer) const;
  // Whether the GPU with the layer has the expert.
  bool is_in_vram(uint32_t layer, int32_t expert_id) const;
  void count_places();
  // What the run has learned of how often experts are used.
  std::vector<float> heat() const;
  void open_on_gpus(const std::filesystem::path& path, const std::function<void(uint64_t done)>& on_progress);
  // Weights in a mapped file, with copies in memory (then the result is null), or in a store on the disk.
  std::unique_ptr<WeightStore> open_on_cpu(Device& cpu, const std::filesystem::path& path,
                                           const std::function<void(uint64_t done)>& on_bytes);
};

}  // namespace sluice::engine
