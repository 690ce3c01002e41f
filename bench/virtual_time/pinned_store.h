// All experts in memory that the GPU can read: the mapped file of the skeleton, pinned as a store's slots are.
#pragma once

#include <memory>
#include <vector>

#include "engine/device/device.h"
#include "engine/store/store.h"

namespace sluice::bench {

class PinnedStore : public engine::WeightStore {
 public:
  PinnedStore(engine::Device& device, const engine::ModelWeights& weights, std::span<const std::byte> file)
      : mapped_(engine::make_mapped_store(weights)) {
    if (!device.pin(const_cast<std::byte*>(file.data()), file.size()))
      throw std::logic_error("The skeleton cannot be pinned.");
    for (uint32_t layer = 0; layer < weights.layers.size(); ++layer)
      if (const auto* experts = std::get_if<engine::ExpertsWeights>(&weights.layers[layer].ffn))
        for (int32_t id = 0; id < experts->gate.count; ++id) moved_.push_back({layer, id});
  }

  bool needs_memory_of_passes(int64_t n_rows) const override { return mapped_->needs_memory_of_passes(n_rows); }
  void begin_pass(int64_t n_rows) override { mapped_->begin_pass(n_rows); }
  engine::EmbeddingRows embedding(std::span<const int32_t> ids) override { return mapped_->embedding(ids); }
  void acquire(size_t part) override { mapped_->acquire(part); }
  void release(size_t part) noexcept override { mapped_->release(part); }
  std::unique_ptr<engine::ExpertRequest> begin(uint32_t layer, std::span<const int32_t> expert_ids,
                                               std::span<const int64_t> n_rows) override {
    return mapped_->begin(layer, expert_ids, n_rows);
  }
  std::unique_ptr<engine::ExpertHold> hold(uint32_t layer, int32_t expert_id) override {
    return mapped_->hold(layer, expert_id);
  }
  bool wants_guess(uint32_t layer) const override { return mapped_->wants_guess(layer); }
  void guess(uint32_t layer, std::span<const int32_t> expert_ids) override { mapped_->guess(layer, expert_ids); }
  engine::StoreStatistics statistics() const override { return mapped_->statistics(); }

  bool is_complete() const override { return true; }
  std::vector<engine::LayerExpert> take_moved() override { return std::exchange(moved_, {}); }

 private:
  std::unique_ptr<engine::WeightStore> mapped_;
  std::vector<engine::LayerExpert> moved_;
};

}  // namespace sluice::bench
