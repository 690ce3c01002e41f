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
#include <span>
#include <vector>

#include "engine/simulation/simulation.h"
#include "engine/store/expert_slots.h"
#include "engine/store/policy.h"
#include "engine/traces/made_up_routing.h"

namespace {

using sluice::engine::best_hit_share;
using sluice::engine::ExpertNumber;
using sluice::engine::ExpertSlots;
using sluice::engine::heat_of;
using sluice::engine::PolicyKind;
using sluice::engine::SlotNumber;
using sluice::engine::traces::MadeUpRouting;
using sluice::engine::traces::Pass;
using sluice::engine::traces::RoutingRecipe;
using sluice::engine::traces::TraceHeader;

constexpr uint32_t kLayers = 58, kExperts = 256;

// Of the second half of the trace, when memory is full.
double hit_rate(const TraceHeader& header, std::span<const Pass> trace, PolicyKind kind, const std::vector<float>& heat,
                uint32_t n_slots) {
  const auto policy = make_policy(kind, kLayers * kExperts, heat);
  ExpertSlots slots(kLayers * kExperts, {n_slots});
  uint64_t n_hits = 0, n_asked = 0;
  for (size_t token = 0; token < trace.size(); ++token) {
    for (const ExpertNumber expert : policy->begin_pass(1))
      if (const auto slot = slots.find(expert)) slots.set_worth(*slot, policy->worth(expert));
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      std::vector<SlotNumber> held;
      std::vector<std::pair<ExpertNumber, double>> missing;
      for (const uint16_t id : trace[token].experts(header, 0, layer)) {
        const ExpertNumber expert = layer * kExperts + id;
        const double worth = policy->use(expert, 1);
        if (const auto slot = slots.find(expert)) {
          slots.set_worth(*slot, worth);
          slots.hold(*slot);
          held.push_back(*slot);
          if (token >= trace.size() / 2) ++n_hits;
        } else {
          missing.push_back({expert, worth});
        }
        if (token >= trace.size() / 2) ++n_asked;
      }
      for (const auto& [expert, worth] : missing)
        if (const auto slot = slots.take(expert, 0, worth)) held.push_back(*slot);
      for (const SlotNumber slot : held) slots.release(slot);
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
    MadeUpRouting routing(recipe);
    std::vector<Pass> all;
    for (int token = 0; token < 2 * n_tokens; ++token) all.push_back(routing.next());
    const std::span<const Pass> earlier(all.data(), all.size() / 2), trace(all.data() + all.size() / 2, all.size() / 2);
    const std::vector<float> heat = heat_of(routing.header(), earlier);
    for (const double share : {0.1, 0.3, 0.6, 0.9}) {
      const auto n_slots = static_cast<uint32_t>(share * kLayers * kExperts);
      std::printf("| %.1f | %.1f | %.1f | %.0f%% |", order.skew, order.locality, order.drift, 100 * share);
      for (const PolicyKind kind : sluice::engine::kPolicies)
        std::printf(" %.1f%% |", 100 * hit_rate(routing.header(), trace, kind, heat, n_slots));
      std::printf(" %.1f%% |\n", 100 * best_hit_share(routing.header(), trace, n_slots, 0.5));
      std::fflush(stdout);
    }
  }
  return 0;
}
