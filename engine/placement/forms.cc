#include "engine/placement/forms.h"

#include <algorithm>

#include "engine/store/store_plan.h"

namespace sluice::engine {
namespace {

// Heads are also multiplied transposed, which knows blocks only.
struct Candidate {
  ChosenForm chosen;
  bool blocks_only = false;
};

void add(std::vector<Candidate>& candidates, Linear& matrix, bool blocks_only = false) {
  if (matrix) candidates.push_back({{nullptr, &matrix, {}}, blocks_only});
}
void add(std::vector<Candidate>& candidates, LinearStack& stack) {
  if (stack) candidates.push_back({{&stack, nullptr, {}}, false});
}
void add(std::vector<Candidate>& candidates, DenseWeights& ffn) {
  add(candidates, ffn.gate);
  add(candidates, ffn.up);
  add(candidates, ffn.down);
}

// What a pass multiplies by, what every token reads first. The embedding is looked up by row and stays in the file.
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

// The offer to take, or null when there is none that fits.
const ResidentOffer* choose(std::span<const ResidentOffer> offers, const Candidate& candidate, Residency residency,
                            uint64_t spare_bytes) {
  const ResidentOffer* best = nullptr;
  for (const ResidentOffer& offer : offers) {
    if (offer.bytes > candidate.chosen.file_bytes() + spare_bytes || (candidate.blocks_only && offer.form != nullptr))
      continue;
    if (best == nullptr || residency == Residency::Fast || offer.seconds < kEqualOffers * best->seconds) best = &offer;
  }
  return best;
}

}  // namespace

FormOffers offers_of(Device& device) {
  return [&device](const LinearStack& stack, bool measured) { return device.resident_offers(stack, measured); };
}

FormOffers offers_of(const Machine& machine) {
  return [&machine](const LinearStack& stack, bool) {
    const Linear& matrix = stack.first;
    const auto count = static_cast<uint64_t>(stack.count);
    const KernelRates rates = rates_for(machine, matrix.type);
    const double weights = static_cast<double>(count) * static_cast<double>(matrix.n_outputs) *
                           static_cast<double>(matrix.n_inputs) / machine.n_cores;
    const auto seconds = [&](uint64_t bytes, double rate) {
      return std::max(static_cast<double>(bytes) / machine.ram_bytes_per_second, weights / rate);
    };
    const uint64_t file_bytes = matrix.bytes() * count;
    std::vector<ResidentOffer> offers{{nullptr, file_bytes, seconds(file_bytes, rates.weights_per_second)}};
    const kernels::ResidentForm* form = kernels::resident_form(matrix.type);
    if (form != nullptr && rates.form_weights_per_second > 0 && matrix.n_inputs % form->unit_columns == 0) {
      const uint64_t bytes = form->bytes(matrix.n_outputs, matrix.n_inputs) * count;
      offers.push_back({form, bytes, seconds(bytes, rates.form_weights_per_second)});
    }
    return offers;
  };
}

std::vector<ChosenForm> choose_forms(ModelWeights& weights, const FormOffers& offers, Residency residency,
                                     uint64_t spare_bytes) {
  std::vector<ChosenForm> chosen;
  if (residency == Residency::File) return chosen;
  for (Candidate& candidate : candidates_of(weights)) {
    const auto on_offer = offers(candidate.chosen.as_stack(), residency == Residency::Automatic);
    const ResidentOffer* offer = choose(on_offer, candidate, residency, spare_bytes);
    if (offer == nullptr) continue;
    candidate.chosen.offer = *offer;
    const uint64_t file_bytes = candidate.chosen.file_bytes(), memory_bytes = candidate.chosen.memory_bytes();
    spare_bytes -= std::min(spare_bytes, memory_bytes - std::min(memory_bytes, file_bytes));
    chosen.push_back(candidate.chosen);
  }
  return chosen;
}

void choose_store_forms(StoreInventory& inventory, const FormOffers& offers, Residency residency, int64_t n_batch,
                        uint64_t bytes, uint64_t block_bytes) {
  constexpr double kWorthTurning = 0.9;  // turning costs as much as some tokens, so what is as fast stays
  constexpr uint64_t kLargerByAnEighth = 8;
  if (residency == Residency::File || !all_dense_stays(inventory, n_batch, bytes, block_bytes)) return;
  for (DensePart& part : inventory.dense) {
    for (DenseMatrix& matrix : part.matrices) {
      const Linear& handle = *matrix.handles[0].linear;
      if (matrix.handles.size() != 1) continue;  // heads are read in other ways too
      const auto on_offer = offers({handle, 1, handle.bytes()}, residency == Residency::Automatic);
      const ResidentOffer& form = on_offer.back();
      if (form.form == nullptr || form.bytes > handle.bytes() + handle.bytes() / kLargerByAnEighth) continue;
      if (residency == Residency::Fast || form.seconds < kWorthTurning * on_offer.front().seconds) matrix.form = form;
    }
  }
  if (all_dense_stays(inventory, n_batch, bytes, block_bytes)) return;
  for (DensePart& part : inventory.dense)
    for (DenseMatrix& matrix : part.matrices) matrix.form = {};
}

}  // namespace sluice::engine
