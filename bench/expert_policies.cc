// Which policy keeps the right experts in memory? Replays made-up routing of the shape of DeepSeek-R1 through the store's own table of
// slots and its policies, beside the best that could be done by someone who knows the future (Belady), and prints the share of the
// chosen experts that were in memory as a Markdown table. No disk, no clock: the same numbers on every machine.
//
//   expert_policies [tokens]
//
// Routing: every layer has its favourites, experts chosen with weights 1 / rank^skew. A token keeps an expert of the token before
// with some probability (locality), and every 256 tokens the subject changes: a share of the experts of each layer swap their ranks.
// Heat is learned from as many tokens of other subjects before.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "engine/store/expert_slots.h"
#include "engine/store/policy.h"

namespace {

using sluice::engine::ExpertNumber;
using sluice::engine::ExpertSlots;
using sluice::engine::PolicyKind;
using sluice::engine::SlotNumber;

constexpr uint32_t kLayers = 58, kExperts = 256, kChosen = 8;
constexpr int kSubjectTokens = 256;

struct Routing {
  double skew = 0;      // of the favourites: 0 is uniform
  double locality = 0;  // of keeping an expert from one token to the next
  double drift = 0;     // share of the experts whose ranks change with the subject
};

// For each token and layer the chosen experts.
using Trace = std::vector<std::vector<ExpertNumber>>;

Trace make_trace(const Routing& routing, int n_tokens, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<double> weights(kExperts);
  for (uint32_t rank = 0; rank < kExperts; ++rank) weights[rank] = 1 / std::pow(rank + 1, routing.skew);
  std::discrete_distribution<uint32_t> draw_rank(weights.begin(), weights.end());
  std::uniform_real_distribution<double> chance;
  std::vector<std::vector<uint32_t>> by_rank(kLayers, std::vector<uint32_t>(kExperts));
  for (auto& experts : by_rank) {
    for (uint32_t i = 0; i < kExperts; ++i) experts[i] = i;
    std::shuffle(experts.begin(), experts.end(), random);
  }
  std::vector<std::vector<uint32_t>> last(kLayers);
  Trace trace;
  for (int token = 0; token < n_tokens; ++token) {
    if (token % kSubjectTokens == 0)
      for (auto& experts : by_rank)
        for (int swap = 0; swap < static_cast<int>(routing.drift * kExperts / 2); ++swap)
          std::swap(experts[random() % kExperts], experts[random() % kExperts]);
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      std::set<uint32_t> chosen;
      for (const uint32_t expert : last[layer])
        if (chance(random) < routing.locality) chosen.insert(expert);
      while (chosen.size() < kChosen) chosen.insert(by_rank[layer][draw_rank(random)]);
      last[layer].assign(chosen.begin(), chosen.end());
      std::vector<ExpertNumber> numbers;
      for (const uint32_t expert : chosen) numbers.push_back(layer * kExperts + expert);
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
  const Routing routings[] = {{0, 0, 0}, {0, 0.3, 0},   {0.5, 0, 0}, {0.5, 0.3, 0.5},
                              {1, 0, 0}, {1, 0.3, 0.5}, {1, 0.3, 1}, {1.5, 0.3, 0.5}};
  std::printf(
      "| skew | locality | drift | in memory | lru | lfu | static | hybrid | best possible "
      "|\n|---|---|---|---|---:|---:|---:|---:|---:|\n");
  for (const Routing& routing : routings) {
    const Trace all = make_trace(routing, 2 * n_tokens, 1);
    const auto middle = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2);
    const std::vector<float> heat = heat_of({all.begin(), middle});
    const Trace trace(middle, all.end());
    for (const double share : {0.1, 0.3, 0.6, 0.9}) {
      const auto n_slots = static_cast<uint32_t>(share * kLayers * kExperts);
      std::printf("| %.1f | %.1f | %.1f | %.0f%% |", routing.skew, routing.locality, routing.drift, 100 * share);
      for (const PolicyKind kind : sluice::engine::kPolicies)
        std::printf(" %.1f%% |", 100 * hit_rate(trace, kind, heat, n_slots));
      std::printf(" %.1f%% |\n", 100 * best_hit_rate(trace, n_slots));
      std::fflush(stdout);
    }
  }
  return 0;
}
