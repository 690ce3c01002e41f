// What a trace says by itself: which hits are possible, and which experts are used most.

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "engine/simulation/simulation.h"
#include "engine/store/expert_slots.h"

namespace sluice::engine {

using traces::Pass;
using traces::TraceHeader;

double best_hit_share(const TraceHeader& header, std::span<const Pass> passes, uint64_t n_slots, double warm_share) {
  // Steps are (pass, layer), each with its distinct experts.
  std::vector<std::vector<ExpertNumber>> steps;
  for (const Pass& pass : passes) {
    for (size_t layer = 0; layer < header.expert_layers.size(); ++layer) {
      std::vector<ExpertNumber>& step = steps.emplace_back();
      for (size_t row = 0; row < pass.n_rows(); ++row)
        for (const uint16_t id : pass.experts(header, row, layer))
          step.push_back(static_cast<ExpertNumber>(layer) * header.n_experts + id);
      std::ranges::sort(step);
      step.erase(std::ranges::unique(step).begin(), step.end());
    }
  }
  constexpr size_t kNever = SIZE_MAX;
  std::vector<std::vector<size_t>> next_use(steps.size());
  std::vector<size_t> next(header.expert_layers.size() * header.n_experts, kNever);
  for (size_t step = steps.size(); step-- > 0;)
    for (const ExpertNumber expert : steps[step]) next_use[step].push_back(std::exchange(next[expert], step));

  std::map<ExpertNumber, size_t> held;                // and when it is used next
  std::set<std::pair<size_t, ExpertNumber>> by_next;  // the last is put out first
  const auto first_counted = static_cast<size_t>(warm_share * static_cast<double>(steps.size()));
  uint64_t n_hits = 0, n_asked = 0;
  for (size_t step = 0; step < steps.size(); ++step) {
    for (size_t i = 0; i < steps[step].size(); ++i) {
      const ExpertNumber expert = steps[step][i];
      const auto found = held.find(expert);
      if (step >= first_counted) {
        ++n_asked;
        n_hits += found != held.end() ? 1 : 0;
      }
      if (found != held.end()) by_next.erase({found->second, expert});
      held[expert] = next_use[step][i];
      by_next.insert({next_use[step][i], expert});
    }
    while (held.size() > n_slots) {  // once the step is over: only then is it known when its experts are needed again
      held.erase(by_next.rbegin()->second);
      by_next.erase(std::prev(by_next.end()));
    }
  }
  return n_asked > 0 ? static_cast<double>(n_hits) / static_cast<double>(n_asked) : 0;
}

std::vector<float> heat_of(const TraceHeader& header, std::span<const Pass> passes) {
  std::vector<float> heat(header.expert_layers.size() * header.n_experts, 0);
  double n_tokens = 0;
  for (const Pass& pass : passes) {
    n_tokens += static_cast<double>(pass.n_rows());
    for (size_t row = 0; row < pass.n_rows(); ++row)
      for (size_t layer = 0; layer < header.expert_layers.size(); ++layer)
        for (const uint16_t id : pass.experts(header, row, layer)) ++heat[layer * header.n_experts + id];
  }
  for (float& uses : heat) uses = n_tokens > 0 ? static_cast<float>(uses / n_tokens) : 0;
  return heat;
}

}  // namespace sluice::engine
