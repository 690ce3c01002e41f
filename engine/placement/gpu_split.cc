#include "engine/placement/gpu_split.h"

#include <utility>

namespace sluice::engine {

uint64_t part_of(uint64_t whole, uint32_t first, uint32_t end, uint32_t n_layers) {
  const auto upto = [&](uint64_t layer) { return whole / n_layers * layer + whole % n_layers * layer / n_layers; };
  return upto(end) - upto(first);
}

std::vector<LayerCost> layer_costs(const ModelWork& work, std::span<const uint64_t> state_bytes) {
  std::vector<LayerCost> layers(work.n_layers);
  for (uint32_t layer = 0; layer < work.n_layers; ++layer)
    layers[layer] = {part_of(work.vram_vector_bytes, layer, layer + 1, work.n_layers), state_bytes[layer], 0};
  for (const WeightGroup& group : work.groups) {
    if (group.role == GroupRole::Output || group.role == GroupRole::Embedding) continue;
    LayerCost& layer = layers[group.layer];
    (group.role == GroupRole::RoutedExperts ? layer.expert_bytes : layer.dense_bytes) +=
        group.unit_vram_bytes() * group.n_units;
  }
  return layers;
}

// Does each GPU hold all of its layers?
static bool is_whole(std::span<const LayerCost> layers, uint64_t last_bytes, uint64_t pass_bytes,
                     std::span<const uint32_t> ends, std::span<const GpuRoom> gpus) {
  uint32_t layer = 0;
  for (size_t i = 0; i < gpus.size(); ++i) {
    if (ends[i] == layer) continue;
    uint64_t bytes = pass_bytes + (ends[i] == layers.size() ? last_bytes : 0);
    for (; layer < ends[i]; ++layer)
      bytes += layers[layer].dense_bytes + layers[layer].state_bytes + layers[layer].expert_bytes;
    if (bytes > gpus[i].bytes) return false;
  }
  return true;
}

GpuSplit split_over_gpus(const ModelWork& work, std::span<const uint64_t> state_bytes, const SessionMemory& session,
                         std::span<const GpuRoom> gpus) {
  const std::vector<LayerCost> layers = layer_costs(work, state_bytes);
  uint64_t last_bytes = 0;
  for (const WeightGroup& group : work.groups)
    if (group.role == GroupRole::Output) last_bytes += group.unit_vram_bytes();
  // The embedding's rows are read in the file.
  std::vector<uint32_t> ends = split_layers(layers, 0, last_bytes, session.gpu_pass_bytes, gpus);
  if (is_whole(layers, last_bytes, session.gpu_pass_bytes, ends, gpus)) return {std::move(ends), true};
  return {split_layers(layers, 0, last_bytes, session.shared_pass_bytes, gpus), false};
}

}  // namespace sluice::engine
