#include "engine/traces/routing_statistics.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "engine/error.h"

namespace sluice::engine::traces {

RoutingCounter::RoutingCounter(const TraceHeader& header) : header_(header) {
  check_header(header);
  uses_.resize(header.expert_layers.size() * header.n_experts);
  repeats_.resize(header.expert_layers.size());
}

void RoutingCounter::add(const Pass& pass) {
  ++n_passes_;
  if (pass.n_rows() > 1) n_prompt_tokens_ += pass.n_rows();
  std::vector<bool> before(header_.n_experts);
  for (size_t row = 0; row < pass.n_rows(); ++row, ++n_tokens_) {
    for (size_t layer = 0; layer < header_.expert_layers.size(); ++layer) {
      const std::span<const uint16_t> chosen = pass.experts(header_, row, layer);
      for (const uint16_t expert : chosen) ++uses_[layer * header_.n_experts + expert];
      if (last_.empty()) continue;
      const auto last = std::span(last_).subspan(layer * header_.n_used, header_.n_used);
      for (const uint16_t expert : last) before[expert] = true;
      for (const uint16_t expert : chosen) repeats_[layer] += before[expert] ? 1 : 0;
      for (const uint16_t expert : last) before[expert] = false;
    }
    if (!last_.empty()) ++n_followers_;
    const auto begin = pass.expert_ids.begin() + static_cast<std::ptrdiff_t>(row * header_.n_choices());
    last_.assign(begin, begin + static_cast<std::ptrdiff_t>(header_.n_choices()));
  }
}

LayerStatistics RoutingCounter::layer_statistics(size_t index) const {
  const auto begin = uses_.begin() + static_cast<std::ptrdiff_t>(index * header_.n_experts);
  std::vector<uint64_t> uses(begin, begin + header_.n_experts);
  std::ranges::sort(uses, std::greater());
  const auto all = static_cast<double>(n_tokens_ * header_.n_used);
  LayerStatistics statistics;
  statistics.layer = header_.expert_layers[index];
  statistics.n_seen = static_cast<uint32_t>(std::ranges::count_if(uses, [](uint64_t n) { return n > 0; }));
  for (const double share : kTopShares) {
    const auto n = std::max<std::ptrdiff_t>(1, std::lround(share * header_.n_experts));
    statistics.top_share.push_back(static_cast<double>(std::accumulate(uses.begin(), uses.begin() + n, uint64_t{0})) /
                                   all);
  }
  for (const uint64_t n : uses) {
    if (n == 0) continue;
    const double share = static_cast<double>(n) / all;
    statistics.entropy_bits -= share * std::log2(share);
    // A token uses this expert with the chance n / n_tokens, and so does the one before it.
    const double chance = static_cast<double>(n) / static_cast<double>(n_tokens_);
    statistics.expected_repeated += chance * chance / header_.n_used;
  }
  if (n_followers_ > 0)
    statistics.repeated = static_cast<double>(repeats_[index]) / static_cast<double>(n_followers_ * header_.n_used);
  return statistics;
}

RoutingStatistics RoutingCounter::statistics() const {
  if (n_tokens_ == 0)
    throw Error(Error::Kind::BadFile,
                "The trace has no tokens: there is nothing to count. Record it again with --trace.");
  RoutingStatistics all{n_tokens_, n_passes_, n_prompt_tokens_, {}, {}};
  all.mean.top_share.assign(std::size(kTopShares), 0);
  const auto n_layers = static_cast<double>(header_.expert_layers.size());
  double n_seen = 0;
  for (size_t i = 0; i < header_.expert_layers.size(); ++i) {
    const LayerStatistics layer = layer_statistics(i);
    n_seen += layer.n_seen / n_layers;
    for (size_t k = 0; k < layer.top_share.size(); ++k) all.mean.top_share[k] += layer.top_share[k] / n_layers;
    all.mean.entropy_bits += layer.entropy_bits / n_layers;
    all.mean.repeated += layer.repeated / n_layers;
    all.mean.expected_repeated += layer.expected_repeated / n_layers;
    all.layers.push_back(layer);
  }
  all.mean.n_seen = static_cast<uint32_t>(std::lround(n_seen));
  return all;
}

}  // namespace sluice::engine::traces
