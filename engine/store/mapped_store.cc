#include <utility>

#include "engine/store/store.h"

namespace sluice::engine {
namespace {

class MappedRequest : public ExpertRequest {
 public:
  explicit MappedRequest(std::vector<Ready> experts) : experts_(std::move(experts)) {}
  std::span<const Ready> next() override {
    if (std::exchange(is_handed_out_, true)) return {};
    return experts_;
  }

 private:
  std::vector<Ready> experts_;
  bool is_handed_out_ = false;
};

class MappedStore : public WeightStore {
 public:
  explicit MappedStore(const ModelWeights& weights) : weights_(weights) {}

  bool needs_memory_of_passes(int64_t) const override { return false; }
  void begin_pass(int64_t) override {}
  EmbeddingRows embedding(std::span<const int32_t> ids) override {
    return {weights_.token_embedding, {ids.begin(), ids.end()}};
  }
  void acquire(size_t) override {}
  void release(size_t) noexcept override {}

  std::unique_ptr<ExpertRequest> begin(uint32_t layer, std::span<const int32_t> expert_ids,
                                       std::span<const int64_t>) override {
    const auto& stacks = std::get<ExpertsWeights>(weights_.layers[layer].ffn);
    std::vector<ExpertRequest::Ready> experts;
    experts.reserve(expert_ids.size());
    for (size_t i = 0; i < expert_ids.size(); ++i) {
      const int32_t id = expert_ids[i];
      experts.push_back({i, {stacks.gate.at(id), stacks.up.at(id), stacks.down.at(id)}});
    }
    return std::make_unique<MappedRequest>(std::move(experts));
  }
  std::unique_ptr<ExpertHold> hold(uint32_t layer, int32_t expert_id) override {
    auto hold = std::make_unique<ExpertHold>();
    const auto& stacks = std::get<ExpertsWeights>(weights_.layers[layer].ffn);
    hold->handles = {stacks.gate.at(expert_id), stacks.up.at(expert_id), stacks.down.at(expert_id)};
    return hold;
  }
  bool wants_guess(uint32_t) const override { return false; }
  void guess(uint32_t, std::span<const int32_t>) override {}
  StoreStatistics statistics() const override { return {}; }

 private:
  const ModelWeights& weights_;
};

}  // namespace

std::unique_ptr<WeightStore> make_mapped_store(const ModelWeights& weights) {
  return std::make_unique<MappedStore>(weights);
}

}  // namespace sluice::engine
