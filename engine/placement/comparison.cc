#include "engine/placement/comparison.h"

#include <cmath>
#include <functional>

namespace sluice::engine {
namespace {

using Predict = std::function<Prediction(const Machine& machine, const ExpertShares& shares)>;

// Corrects one assumption after the other by what was found, and blames the one that moved the prediction most.
Comparison compare(const Predict& predict, const Machine& machine, const ExpertShares& assumed, const RunFacts& facts) {
  Comparison comparison;
  comparison.predicted = predict(machine, assumed);
  const double predicted = comparison.predicted.tokens_per_second();
  if (predicted <= 0 || facts.tokens_per_second <= 0) return comparison;
  comparison.actual_over_predicted = facts.tokens_per_second / predicted;
  if (comparison.is_near()) return comparison;

  ExpertShares found = assumed;
  if (facts.has_experts_found) found.ram = facts.experts_in_memory - assumed.vram;
  const double with_hits = predict(machine, found).tokens_per_second();
  Machine with_disk = machine;
  if (facts.disk_bytes_per_second > 0) with_disk.disk_bytes_per_second = facts.disk_bytes_per_second;
  const double with_both = predict(with_disk, found).tokens_per_second();

  const double by_hits = std::abs(std::log(with_hits / predicted));
  const double by_disk = std::abs(std::log(with_both / with_hits));
  const double by_rest = std::abs(std::log(facts.tokens_per_second / with_both));
  if (by_hits >= by_disk && by_hits >= by_rest) {
    comparison.off = Assumption::ExpertHits;
    comparison.assumed = assumed.vram + assumed.ram;
    comparison.found = facts.experts_in_memory;
  } else if (by_disk >= by_rest) {
    comparison.off = Assumption::DiskRate;
    comparison.assumed = machine.disk_bytes_per_second;
    comparison.found = facts.disk_bytes_per_second;
  } else {
    constexpr double kBusy = 0.8;  // less than this, and neither waiting: somebody else had the cores
    const bool was_slowed = facts.tokens_per_second < with_both && facts.cpu_busy + facts.waiting < kBusy;
    comparison.off = was_slowed ? Assumption::OtherPrograms : Assumption::CpuRate;
    comparison.assumed = 1;
    comparison.found = was_slowed ? facts.cpu_busy : facts.tokens_per_second / with_both;
  }
  return comparison;
}

// Of the experts that are not in VRAM, as many in RAM as the places have.
ExpertShares shares_of(const ModelWork& work, std::span<const GroupPlace> places, const RunFacts& facts) {
  const ExpertShares uniform = uniform_shares(work, places);
  if (!facts.has_vram_hits) return uniform;
  const double elsewhere = 1 - uniform.vram;
  return {facts.vram_hits, elsewhere > 0 ? (1 - facts.vram_hits) * uniform.ram / elsewhere : 1 - facts.vram_hits};
}

}  // namespace

bool Comparison::is_near() const {
  return std::abs(actual_over_predicted - 1) <= kNear;
}

Comparison compare_decode(const ModelWork& work, std::span<const GroupPlace> places, const Machine& machine,
                          const RunFacts& facts, const MissSharing& sharing) {
  return compare(
      [&](const Machine& m, const ExpertShares& shares) {
        return predict_decode(work, places, m, facts.n_positions, shares, sharing);
      },
      machine, shares_of(work, places, facts), facts);
}

Comparison compare_prefill(const ModelWork& work, std::span<const GroupPlace> places, const Machine& machine,
                           uint32_t n_tokens, const RunFacts& facts, const PromptRules& rules) {
  return compare([&](const Machine& m,
                     const ExpertShares& shares) { return predict_prompt(work, places, m, n_tokens, shares, rules); },
                 machine, shares_of(work, places, facts), facts);
}

}  // namespace sluice::engine
