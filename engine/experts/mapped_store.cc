#include <utility>

#include "engine/experts/store.h"

namespace sluice::engine {
namespace {

class MappedRequest : public ExpertRequest {
 public:
  explicit MappedRequest(std::vector<ExpertHandles> handles) : handles_(std::move(handles)) {}
  std::span<const ExpertHandles> finish() override { return handles_; }

 private:
  std::vector<ExpertHandles> handles_;
};

class MappedStore : public ExpertStore {
 public:
  explicit MappedStore(std::vector<ExpertStacks> layers) : layers_(std::move(layers)) {}

  std::unique_ptr<ExpertRequest> begin(uint32_t layer, std::span<const int32_t> expert_ids) override {
    const ExpertStacks& stacks = layers_[layer];
    std::vector<ExpertHandles> handles;
    handles.reserve(expert_ids.size());
    for (const int32_t id : expert_ids) handles.push_back({stacks.gate.at(id), stacks.up.at(id), stacks.down.at(id)});
    return std::make_unique<MappedRequest>(std::move(handles));
  }

  void prefetch(uint32_t, std::span<const int32_t>) override {}

 private:
  std::vector<ExpertStacks> layers_;
};

}  // namespace

std::unique_ptr<ExpertStore> make_mapped_store(std::vector<ExpertStacks> layers) {
  return std::make_unique<MappedStore>(std::move(layers));
}

}  // namespace sluice::engine
