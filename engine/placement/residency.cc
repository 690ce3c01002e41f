#include "engine/placement/residency.h"

#include <algorithm>

#include "engine/placement/memory.h"

namespace sluice::engine {
namespace {

// A stack of matrices of the model; single ones are stacks of one, whose handle is set afterwards.
struct Candidate {
  LinearStack* stack = nullptr;
  Linear* single = nullptr;
  bool blocks_only = false;  // read in other ways than by products, which know blocks only
  ResidentOffer offer;

  LinearStack as_stack() const { return stack != nullptr ? *stack : LinearStack{*single, 1, single->bytes()}; }
  uint64_t file_bytes() const { return as_stack().first.bytes() * static_cast<uint64_t>(as_stack().count); }
  // In memory that is shared with others, each in cache lines of its own.
  uint64_t arena_bytes() const { return (offer.bytes + 63) / 64 * 64; }
};

void add(std::vector<Candidate>& candidates, Linear& matrix, bool blocks_only = false) {
  if (matrix) candidates.push_back({nullptr, &matrix, blocks_only, {}});
}
void add(std::vector<Candidate>& candidates, LinearStack& stack) {
  if (stack) candidates.push_back({&stack, nullptr, false, {}});
}
void add(std::vector<Candidate>& candidates, DenseWeights& ffn) {
  add(candidates, ffn.gate);
  add(candidates, ffn.up);
  add(candidates, ffn.down);
}

// What a pass multiplies by, what every token reads first. The embedding is looked up by row and stays in the file; the
// heads' up-projections of latent attention are also multiplied transposed.
std::vector<Candidate> candidates_of(ModelWeights& weights) {
  std::vector<Candidate> dense, routed;
  for (LayerWeights& layer : weights.layers) {
    if (auto* grouped = std::get_if<GroupedQueryWeights>(&layer.attention)) {
      for (Linear* matrix : {&grouped->query, &grouped->key, &grouped->value, &grouped->output}) add(dense, *matrix);
    } else {
      auto& latent = std::get<LatentWeights>(layer.attention);
      for (Linear* matrix : {&latent.query, &latent.query_down, &latent.query_up, &latent.latent_down, &latent.output})
        add(dense, *matrix);
      for (auto* heads : {&latent.key_up, &latent.value_up})
        for (Linear& matrix : *heads) add(dense, matrix, true);
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
  for (Linear& piece : weights.output)
    if (piece.data != weights.token_embedding.data) add(dense, piece);
  dense.insert(dense.end(), routed.begin(), routed.end());
  return dense;
}

// The offer to take, or nothing when there is none that fits.
const ResidentOffer* choose(std::span<const ResidentOffer> offers, const Candidate& candidate, Residency residency,
                            uint64_t spare_bytes) {
  const ResidentOffer* best = nullptr;
  for (const ResidentOffer& offer : offers) {
    if (offer.bytes > candidate.file_bytes() + spare_bytes || (candidate.blocks_only && offer.form != nullptr))
      continue;
    if (best == nullptr || residency == Residency::Fast || offer.seconds < kEqualOffers * best->seconds) best = &offer;
  }
  return best;
}

}  // namespace

ResidentWeights make_resident(Device& device, Stream& stream, ModelWeights& weights, Residency residency,
                              uint64_t spare_bytes, const std::function<void(uint64_t, uint64_t)>& on_bytes) {
  ResidentWeights resident;
  if (residency == Residency::File) return resident;
  std::vector<Candidate> chosen;
  uint64_t total = 0;
  for (Candidate& candidate : candidates_of(weights)) {
    const auto offers = device.resident_offers(candidate.as_stack(), residency == Residency::Automatic);
    const ResidentOffer* offer = choose(offers, candidate, residency, spare_bytes);
    if (offer == nullptr) continue;
    candidate.offer = *offer;
    const uint64_t more = candidate.arena_bytes() - std::min(candidate.arena_bytes(), candidate.file_bytes());
    spare_bytes -= std::min(spare_bytes, more);
    resident.bytes += candidate.arena_bytes();
    total += candidate.file_bytes();
    chosen.push_back(candidate);
  }
  if (chosen.empty()) return resident;
  resident.memory = device.allocate(resident.bytes);
  auto* to = static_cast<std::byte*>(resident.memory->data());
  for (const Candidate& candidate : chosen) {
    LinearStack stack = candidate.as_stack();
    const std::byte* of_file = stack.first.data;
    device.make_resident(stream, stack, candidate.offer, to, [&](uint64_t done) {
      if (on_bytes) on_bytes(resident.file_bytes + done, total);
    });
    to += candidate.arena_bytes();
    resident.moved.push_back({of_file, candidate.file_bytes()});
    resident.file_bytes += candidate.file_bytes();
    forget_pages(of_file, candidate.file_bytes());
    if (candidate.stack != nullptr)
      *candidate.stack = stack;
    else
      *candidate.single = stack.first;
  }
  return resident;
}

}  // namespace sluice::engine
