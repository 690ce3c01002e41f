// Which policy keeps the right experts in memory? Replays made-up routing of the shape of DeepSeek-R1 through the store's own table of
// slots and its policies, beside the best that could be done by someone who knows the future (Belady), and prints the share of the
// chosen experts that were in memory as a Markdown table. No disk, no clock: the same numbers on every machine.
//
//   expert_policies [tokens]
//
// engine/traces/made_up_routing.h tells how routing is made up. Heat is learned from as many tokens of other subjects before.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <map>
#include <set>
#include <vector>

#include "engine/store/expert_slots.h"
#include "engine/store/policy.h"
#include "engine/traces/made_up_routing.h"

namespace {

using sluice::engine::ExpertNumber;
using sluice::engine::ExpertSlots;
using sluice::engine::PolicyKind;
using sluice::engine::SlotNumber;
using sluice::engine::traces::MadeUpRouting;
using sluice::engine::traces::RoutingRecipe;

constexpr uint32_t kLayers = 58, kExperts = 256;

// For each token and layer the chosen experts.
using Trace = std::vector<std::vector<ExpertNumber>>;

Trace make_trace(const RoutingRecipe& recipe, int n_tokens) {
  MadeUpRouting routing(recipe);
  Trace trace;
  for (int token = 0; token < n_tokens; ++token) {
    const auto pass = routing.next();
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      std::vector<ExpertNumber> numbers;
      for (const uint16_t expert : pass.experts(routing.header(), 0, layer))
        numbers.push_back(layer * kExperts + expert);
      trace.push_back(std::move(numbers));
    }
  }
  return trace;
}

std::vector<float> heat_of(const Trace& trace) {
  std::vector<float> heat(kLayers * kExperts, 0);
  for (const auto& chosen : trace)
    for (const ExpertNumber expert : chosen)
      heat[expert] += static_cast<float>(kLayers) / static_cast<float>(trace.size());
  return heat;
}

// Of the second half of the trace, when memory is full.
double hit_rate(const Trace& trace, PolicyKind kind, const std::vector<float>& heat, uint32_t n_slots) {
  const auto policy = make_policy(kind, kLayers * kExperts, heat);
  ExpertSlots slots(kLayers * kExperts, {n_slots});
  uint64_t n_hits = 0, n_asked = 0;
  for (size_t step = 0; step < trace.size(); ++step) {
    if (step % kLayers == 0)
      for (const ExpertNumber expert : policy->begin_pass(1))
        if (const auto slot = slots.find(expert)) slots.set_worth(*slot, policy->worth(expert));
    std::vector<SlotNumber> held;
    std::vector<std::pair<ExpertNumber, double>> missing;
    for (const ExpertNumber expert : trace[step]) {
      const double worth = policy->use(expert, 1);
      if (const auto slot = slots.find(expert)) {
        slots.set_worth(*slot, worth);
        slots.hold(*slot);
        held.push_back(*slot);
        if (step >= trace.size() / 2) ++n_hits;
      } else {
        missing.push_back({expert, worth});
      }
      if (step >= trace.size() / 2) ++n_asked;
    }
    for (const auto& [expert, worth] : missing)
      if (const auto slot = slots.take(expert, 0, worth)) held.push_back(*slot);
    for (const SlotNumber slot : held) slots.release(slot);
  }
  return static_cast<double>(n_hits) / static_cast<double>(n_asked);
}

// Gives up what is needed again last.
double best_hit_rate(const Trace& trace, uint32_t n_slots) {
  constexpr size_t kNever = std::numeric_limits<size_t>::max();
  std::vector<std::vector<size_t>> next_use(trace.size());
  std::vector<size_t> next(kLayers * kExperts, kNever);
  for (size_t step = trace.size(); step-- > 0;) {
    for (const ExpertNumber expert : trace[step]) next_use[step].push_back(std::exchange(next[expert], step));
  }
  std::map<ExpertNumber, size_t> held;                // and when it is used next
  std::set<std::pair<size_t, ExpertNumber>> by_next;  // the last is given up first
  uint64_t n_hits = 0, n_asked = 0;
  for (size_t step = 0; step < trace.size(); ++step) {
    for (size_t i = 0; i < trace[step].size(); ++i) {
      const ExpertNumber expert = trace[step][i];
      const auto found = held.find(expert);
      if (step >= trace.size() / 2) {
        ++n_asked;
        n_hits += found != held.end() ? 1 : 0;
      }
      if (found != held.end()) by_next.erase({found->second, expert});
      held[expert] = next_use[step][i];
      by_next.insert({next_use[step][i], expert});
      if (held.size() <= n_slots) continue;
      const ExpertNumber given_up = by_next.rbegin()->second;
      by_next.erase(std::prev(by_next.end()));
      held.erase(given_up);
    }
  }
  return static_cast<double>(n_hits) / static_cast<double>(n_asked);
}

}  // namespace

int main(int n_arguments, char** arguments) {
  const int n_tokens = n_arguments > 1 ? std::atoi(arguments[1]) : 1024;
  if (n_tokens < 2) {
    std::fprintf(stderr, "expert_policies: the number of tokens must be 2 or more\n");
    return 2;
  }
  struct Order {
    double skew, locality, drift;
  };
  const Order orders[] = {{0, 0, 0}, {0, 0.3, 0},   {0.5, 0, 0}, {0.5, 0.3, 0.5},
                          {1, 0, 0}, {1, 0.3, 0.5}, {1, 0.3, 1}, {1.5, 0.3, 0.5}};
  std::printf(
      "| skew | locality | drift | in memory | lru | lfu | static | hybrid | best possible "
      "|\n|---|---|---|---|---:|---:|---:|---:|---:|\n");
  for (const Order& order : orders) {
    RoutingRecipe recipe{.n_layers = kLayers, .n_experts = kExperts};
    recipe.skew = order.skew;
    recipe.locality = order.locality;
    recipe.drift = order.drift;
    const Trace all = make_trace(recipe, 2 * n_tokens);
    const auto middle = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2);
    const std::vector<float> heat = heat_of({all.begin(), middle});
    const Trace trace(middle, all.end());
    for (const double share : {0.1, 0.3, 0.6, 0.9}) {
      const auto n_slots = static_cast<uint32_t>(share * kLayers * kExperts);
      std::printf("| %.1f | %.1f | %.1f | %.0f%% |", order.skew, order.locality, order.drift, 100 * share);
      for (const PolicyKind kind : sluice::engine::kPolicies)
        std::printf(" %.1f%% |", 100 * hit_rate(trace, kind, heat, n_slots));
      std::printf(" %.1f%% |\n", 100 * best_hit_rate(trace, n_slots));
      std::fflush(stdout);
    }
  }
  return 0;
}
