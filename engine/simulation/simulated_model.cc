#include "engine/simulation/simulated_model.h"

#include <cmath>
#include <string>

#include "engine/error.h"
#include "engine/placement/cost.h"

namespace sluice::engine {

void check_shape(const ModelWork& work, const traces::TraceHeader& header) {
  size_t n_layers = 0;
  uint32_t n_experts = 0, n_used = 0;
  for (const WeightGroup& group : work.groups) {
    if (group.role != GroupRole::RoutedExperts) continue;
    ++n_layers;
    n_experts = group.n_units;
    n_used = static_cast<uint32_t>(std::lround(group.uses * group.n_units));
  }
  if (n_layers == header.expert_layers.size() && n_experts == header.n_experts && n_used == header.n_used) return;
  const auto shape = [](size_t layers, uint32_t experts, uint32_t used) {
    return std::to_string(layers) + " layers with " + std::to_string(experts) + " experts, of which a token uses " +
           std::to_string(used);
  };
  throw Error(Error::Kind::Usage, "The trace is of another model: found " +
                                      shape(header.expert_layers.size(), header.n_experts, header.n_used) +
                                      ", expected " + shape(n_layers, n_experts, n_used) +
                                      "; record one of this model (sluice run MODEL --trace FILE), or make one up.");
}

SimulatedModel simulated_model(const Plan& plan, const Machine& machine) {
  SimulatedModel model;
  model.layers.resize(plan.work.n_layers);
  uint32_t n_routed = 0;
  std::optional<uint32_t> gpu_before;
  for (size_t i = 0; i < plan.work.groups.size(); ++i) {
    const WeightGroup& group = plan.work.groups[i];
    const GroupPlace& place = plan.places[i];
    if (group.role == GroupRole::Embedding) continue;
    const Gpu* const gpu = machine.gpus.empty() ? nullptr : &gpu_of(machine, place.gpu);
    SimulatedWork unit{cpu_seconds_of_unit(group, machine), gpu == nullptr ? 0 : gpu_seconds_of_unit(group, *gpu)};
    if (group.role == GroupRole::RoutedExperts) {
      SimulatedLayer& layer = model.layers[group.layer];
      layer.gpu = place.gpu;
      layer.routed = n_routed++;
      layer.expert = unit;
      layer.expert_bytes = static_cast<double>(group.unit_file_bytes());
      if (gpu != nullptr) {
        layer.link_seconds = layer.expert_bytes / gpu->pcie_bytes_per_second;
        layer.cpu_beside_link = cpu_seconds_of_unit(group, beside_link(machine, *gpu));
      }
      continue;
    }
    (place.n_vram > 0 ? unit.cpu : unit.gpu) = 0;
    if (group.role == GroupRole::Output) {
      model.output.cpu += unit.cpu, model.output.gpu += unit.gpu;
      if (place.n_disk > 0) model.output_streamed.push_back(i);
      continue;
    }
    SimulatedLayer& layer = model.layers[group.layer];
    SimulatedWork& part = group.role == GroupRole::SharedExperts ? layer.shared : layer.before_experts;
    part.cpu += unit.cpu, part.gpu += unit.gpu;
    if (place.n_disk > 0) layer.streamed.push_back(i);
    if (group.role != GroupRole::Attention) continue;
    const bool on_gpu = place.n_vram > 0;
    layer.overhead = layer_overhead_seconds(on_gpu);
    // Each layer has an equal part of what attention costs at half of the context.
    const double n_positions = plan.options.n_context / 2.0;
    if (!on_gpu) {
      part.cpu += cpu_attention_seconds(plan.work, machine, n_positions) / plan.work.n_layers;
      continue;
    }
    part.gpu += gpu_attention_seconds(plan.work, *gpu, n_positions) / plan.work.n_layers;
    if (gpu_before && *gpu_before != place.gpu)
      layer.overhead += handover_of(plan.work, machine, *gpu_before, place.gpu, 1).seconds();
    gpu_before = place.gpu;
  }
  return model;
}

}  // namespace sluice::engine
