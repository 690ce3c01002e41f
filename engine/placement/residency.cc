#include "engine/placement/residency.h"

#include <algorithm>

#include "engine/placement/memory.h"

namespace sluice::engine {
namespace {

// A stack of matrices of the model; single ones are stacks of one, whose handle is set afterwards.
struct Candidate {
  LinearStack* stack = nullptr;
  Linear* single = nullptr;
  ResidentOffer offer;

  LinearStack as_stack() const { return stack != nullptr ? *stack : LinearStack{*single, 1, single->bytes()}; }
  uint64_t file_bytes() const { return as_stack().first.bytes() * static_cast<uint64_t>(as_stack().count); }
};

void add(std::vector<Candidate>& candidates, Linear& matrix) {
  if (matrix) candidates.push_back({nullptr, &matrix, {}});
}
void add(std::vector<Candidate>& candidates, LinearStack& stack) {
  if (stack) candidates.push_back({&stack, nullptr, {}});
}
void add(std::vector<Candidate>& candidates, DenseWeights& ffn) {
  add(candidates, ffn.gate);
  add(candidates, ffn.up);
  add(candidates, ffn.down);
}

// What is only ever multiplied by, in the order of how often. The embedding is also looked up by row, and the heads'
// up-projections of latent attention are also multiplied transposed: they stay as they are.
std::vector<Candidate> candidates_of(ModelWeights& weights) {
  std::vector<Candidate> dense, routed;
  for (LayerWeights& layer : weights.layers) {
    if (auto* grouped = std::get_if<GroupedQueryWeights>(&layer.attention)) {
      for (Linear* matrix : {&grouped->query, &grouped->key, &grouped->value, &grouped->output}) add(dense, *matrix);
    } else {
      auto& latent = std::get<LatentWeights>(layer.attention);
      for (Linear* matrix : {&latent.query, &latent.query_down, &latent.query_up, &latent.latent_down, &latent.output})
        add(dense, *matrix);
    }
    if (auto* ffn = std::get_if<DenseWeights>(&layer.ffn)) {
      add(dense, *ffn);
    } else {
      auto& experts = std::get<ExpertsWeights>(layer.ffn);
      add(dense, experts.shared);
      add(routed, experts.gate);
      add(routed, experts.up);
      add(routed, experts.down);
    }
  }
  if (weights.output.data != weights.token_embedding.data) add(dense, weights.output);
  dense.insert(dense.end(), routed.begin(), routed.end());
  return dense;
}

}  // namespace

ResidentWeights make_resident(Device& device, Stream& stream, ModelWeights& weights, Residency residency,
                              uint64_t free_bytes, const std::function<void(uint64_t, uint64_t)>& on_bytes) {
  ResidentWeights resident;
  if (residency == Residency::File) return resident;
  std::vector<Candidate> chosen;
  uint64_t total = 0;
  for (Candidate& candidate : candidates_of(weights)) {
    const auto offer = device.offer_resident(candidate.as_stack(), residency == Residency::Automatic);
    if (!offer || offer->bytes > free_bytes) continue;
    if (residency == Residency::Automatic && offer->form_seconds >= offer->file_seconds) continue;
    free_bytes -= offer->bytes;
    candidate.offer = *offer;
    total += candidate.file_bytes();
    chosen.push_back(candidate);
  }
  uint64_t done = 0;
  for (const Candidate& candidate : chosen) {
    LinearStack stack = candidate.as_stack();
    const std::byte* of_file = stack.first.data;
    const uint64_t file_bytes = candidate.file_bytes();
    const auto report = [&](uint64_t stack_done) {
      if (on_bytes) on_bytes(done + stack_done, total);
    };
    resident.buffers.push_back(device.make_resident(stream, stack, report));
    resident.moved.insert(of_file);
    forget_pages(of_file, file_bytes);
    if (candidate.stack != nullptr)
      *candidate.stack = stack;
    else
      *candidate.single = stack.first;
    done += file_bytes;
    resident.bytes += resident.buffers.back()->bytes();
  }
  resident.file_bytes = done;
  return resident;
}

}  // namespace sluice::engine
