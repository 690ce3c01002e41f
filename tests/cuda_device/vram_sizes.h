// How much VRAM leaves how many of a model's experts to the host.
#pragma once

#include "engine/forward/forward.h"
#include "engine/placement/plan.h"
#include "engine/session/session_memory.h"
#include "tests/cuda_device/fixture.h"

namespace sluice::tests {

// For all of the model but so much of its experts, and for a session that GPU and CPU share. Begins with a fresh GPU.
inline uint64_t vram_without(const std::filesystem::path& path, double share_of_experts) {
  fresh_gpu();
  const engine::ModelOptions options = options_for(engine::DeviceKind::Cuda);
  const auto whole = engine::Model::open(path, options);
  const engine::ForwardContext& context = whole->forward_context();
  const engine::SessionMemory session =
      engine::session_memory(whole->spec(), context.weights, context.latent_attention, options.session);
  uint64_t experts = 0;
  for (const engine::WeightGroup& group : whole->work().groups)
    if (group.role == engine::GroupRole::RoutedExperts) experts += group.unit_vram_bytes() * group.n_units;
  return whole->device_memory().device_bytes + session.shared_bytes() -
         static_cast<uint64_t>(share_of_experts * static_cast<double>(experts));
}

}  // namespace sluice::tests
