// What tests of models that lie on several GPUs share: their options, how large their parts are, and limits of VRAM that cut them so.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/model/bound_model.h"
#include "engine/placement/gpu_split.h"
#include "engine/session/session_memory.h"
#include "tests/cuda_device/fixture.h"

namespace sluice::tests {

inline simt::GpuOptions gpus(size_t n) {
  simt::GpuOptions options;
  options.devices.resize(n);
  for (size_t i = 0; i < n; ++i) options.devices[i].name = "GPU " + std::to_string(i);
  return options;
}

inline engine::ModelOptions split_options(engine::CacheType cache = engine::CacheType::F16) {
  engine::ModelOptions options = options_for(engine::DeviceKind::Cuda, cache);
  options.promotion.must_pay = false;    // what is tested is how experts come, not whether
  options.promotion.has_thread = false;  // so that each run is like the other
  options.promotion.now = [seconds = 0.0]() mutable { return seconds += 0.01; };
  return options;
}

// What a model takes of VRAM.
class Sizes {
 public:
  Sizes(const std::filesystem::path& path, const engine::ModelOptions& options)
      : options_(options), file_(gguf::File::open(path)), model_(engine::describe_and_bind(path, file_)) {
    const engine::ModelWork work = engine::work_of(model_.spec, model_.weights, options.session.cache, nullptr);
    layers = engine::layer_costs(work, engine::state_bytes_of_layers(model_.spec, options.session));
    candidates_.resize(layers.size() + 1);
    for (const engine::WeightGroup& group : work.groups) {
      if (group.role == engine::GroupRole::Output) output_ += group.unit_vram_bytes();
      if (group.role == engine::GroupRole::SharedExperts || group.role == engine::GroupRole::DenseFfn)
        candidates_[group.layer] += group.unit_vram_bytes();
    }
  }

  // Of layers [begin, end), with so much of their experts (1: as a whole). Below 0: without these, and without that part of what else may be
  // the host's.
  uint64_t of(uint32_t begin, uint32_t end, double share) const {
    constexpr uint64_t kTables = 16 << 10;
    const auto part = [](double of_it, uint64_t bytes) {
      return static_cast<uint64_t>(of_it * static_cast<double>(bytes));
    };
    const auto session = [&](engine::LayerRange range) {
      return engine::session_memory(model_.spec, model_.weights, options_.latent_attention, options_.session, range);
    };
    uint64_t bytes = end == layers.size() ? output_ : 0;
    if (share < 0)
      bytes += session({begin, end}).shared_pass_bytes;
    else
      bytes += kTables + (share < 1 ? session({}).shared_pass_bytes : session({}).gpu_pass_bytes);
    for (size_t i = begin; i < end; ++i) {
      bytes += layers[i].dense_bytes + layers[i].state_bytes + part(std::max(0.0, share), layers[i].expert_bytes);
      bytes -= part(std::max(0.0, -share), candidates_[i]);
    }
    return bytes;
  }
  uint64_t pass_bytes(int64_t n_rows) const {
    return engine::shared_pass_bytes(model_.spec, model_.weights, options_.latent_attention, options_.session.cache,
                                     n_rows, 2 * n_rows);
  }

  std::vector<engine::LayerCost> layers;

 private:
  engine::ModelOptions options_;
  gguf::File file_;
  engine::BoundModel model_;
  std::vector<uint64_t> candidates_;  // of each layer, to be the host's as a whole
  uint64_t output_ = 0;
};

// Limits for two GPUs, of which the first has the larger part.
inline std::vector<uint64_t> limits_of(const Sizes& sizes, double share_of_experts) {
  const auto n = static_cast<uint32_t>(sizes.layers.size()), first = std::max(1u, 2 * n / 3);
  return {sizes.of(0, first, share_of_experts), sizes.of(first, n, share_of_experts)};
}

inline void check_parts(const engine::Model& model, size_t n_gpus) {
  const std::vector<engine::GpuUse> parts = model.gpus();
  REQUIRE(parts.size() == n_gpus);
  uint32_t layer = 0;
  for (const engine::GpuUse& part : parts) {
    CHECK(part.first_layer == layer);
    CHECK(part.end_layer > layer);
    layer = part.end_layer;
  }
  CHECK(layer == model.spec().layers.size());
}

}  // namespace sluice::tests
