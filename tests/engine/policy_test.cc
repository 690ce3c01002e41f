// Which expert a policy gives up first.

#include "engine/store/policy.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <set>

#include "engine/store/expert_slots.h"
#include "tests/engine/disk_fixtures.h"

namespace sluice::tests {
namespace {

using engine::ExpertNumber;
using engine::ExpertSlots;
using engine::make_policy;
using engine::Policy;
using engine::PolicyKind;
using engine::SlotNumber;

// Passes of one row in which nothing is used.
void let_pass(Policy& policy, int n_tokens) {
  for (int i = 0; i < n_tokens; ++i) policy.begin_pass(1);
}
// As many passes of one row, each using the expert.
void use(Policy& policy, ExpertNumber expert, int n_tokens = 1) {
  for (int i = 0; i < n_tokens; ++i) {
    policy.begin_pass(1);
    policy.use(expert, 1);
  }
}

}  // namespace

TEST_CASE("the worth that a use gives is told until the next use, or until a pass says that it has fallen") {
  for (const PolicyKind kind : engine::kPolicies) {
    CAPTURE(std::string(policy_name(kind)));
    const float heat[] = {0.1f, 0, 3, 0.5f, 0.2f};
    const auto policy = make_policy(kind, 5, heat);
    std::vector<double> told;
    for (ExpertNumber expert = 0; expert < 5; ++expert) told.push_back(policy->worth(expert));
    Dice dice(1);
    for (int step = 0; step < 2000; ++step) {
      for (const ExpertNumber cooled : policy->begin_pass(static_cast<int64_t>(dice.between(1, 100)))) {
        CHECK(kind == PolicyKind::Hybrid);
        CHECK(policy->worth(cooled) < told[cooled]);
        told[cooled] = policy->worth(cooled);
      }
      const auto expert = static_cast<ExpertNumber>(dice.below(5));
      const double before = policy->worth(expert);
      told[expert] = policy->use(expert, static_cast<int64_t>(dice.between(1, 20)));
      CHECK(told[expert] >= before);
      for (ExpertNumber other = 0; other < 5; ++other) CHECK(policy->worth(other) == told[other]);
    }
  }
}

TEST_CASE("policies have names, each its own") {
  std::set<std::string_view> names;
  for (const PolicyKind kind : engine::kPolicies) names.insert(policy_name(kind));
  CHECK(names == std::set<std::string_view>{"lru", "lfu", "static", "hybrid"});
}

TEST_CASE("LRU gives up the expert that was used longest ago") {
  constexpr uint32_t kExperts = 30, kSlots = 9;
  const auto policy = make_policy(PolicyKind::Lru, kExperts, {});
  ExpertSlots slots(kExperts, {kSlots});
  std::vector<ExpertNumber> recent;  // the latest last
  Dice dice(7);
  for (int step = 0; step < 5000; ++step) {
    const auto expert = static_cast<ExpertNumber>(dice.chance(60) ? dice.below(8) : dice.below(kExperts));
    policy->begin_pass(1);
    const double worth = policy->use(expert, 1);
    const auto known = std::ranges::find(recent, expert);
    CHECK(slots.find(expert).has_value() == (known != recent.end()));
    if (const auto slot = slots.find(expert)) {
      slots.set_worth(*slot, worth);
      recent.erase(known);
    } else {
      slots.release(*slots.take(expert, 0, worth));
      if (recent.size() == kSlots) recent.erase(recent.begin());
    }
    recent.push_back(expert);
  }
}

TEST_CASE("LFU prefers what is used more, and of equal use the recent one") {
  for (const PolicyKind kind : {PolicyKind::Lfu, PolicyKind::Hybrid}) {
    CAPTURE(std::string(policy_name(kind)));
    const auto policy = make_policy(kind, 4, {});
    CHECK(policy->worth(0) == policy->worth(1));
    const auto cool = [&] { let_pass(*policy, static_cast<int>(engine::kRecentPasses)); };
    use(*policy, 0, 10);
    use(*policy, 1, 5);
    cool();
    CHECK(policy->worth(0) > policy->worth(1));
    CHECK(policy->worth(1) > policy->worth(2));
    use(*policy, 2, 5);
    cool();
    CHECK(policy->worth(2) > policy->worth(1));
    CHECK(policy->worth(0) > policy->worth(2));
    let_pass(*policy, 3000);
    use(*policy, 3);
    CHECK(policy->worth(3) > policy->worth(0));  // however often that was
  }
}

TEST_CASE("hybrid keeps what the last passes used before any favourite, and then no longer") {
  const auto policy = make_policy(PolicyKind::Hybrid, 3, {});
  use(*policy, 0, 20);
  let_pass(*policy, 10);
  use(*policy, 1);
  CHECK(policy->worth(1) > policy->worth(0));
  for (uint32_t pass = 1; pass < engine::kRecentPasses; ++pass) {
    CHECK(policy->begin_pass(1).empty());
    CHECK(policy->worth(1) > policy->worth(0));
  }
  const auto cooled = policy->begin_pass(1);
  REQUIRE(cooled.size() == 1);
  CHECK(cooled[0] == 1);
  CHECK(policy->worth(1) < policy->worth(0));
  CHECK(policy->begin_pass(1).empty());
}

TEST_CASE("a use counts half after 128 tokens, in passes of one row as in large ones") {
  const auto policy = make_policy(PolicyKind::Lfu, 4, {});
  use(*policy, 0);
  let_pass(*policy, 127);
  use(*policy, 1);
  CHECK(policy->worth(1) - policy->worth(0) == doctest::Approx(1));  // a logarithm of base 2
  use(*policy, 0);                                                   // half and one
  CHECK(std::exp2(policy->worth(0) - policy->worth(1)) == doctest::Approx(0.5 + std::exp2(1.0 / 128)));
  // A pass of 64 rows counts as the passes of eight tokens.
  policy->begin_pass(64);
  policy->use(2, 64);
  policy->begin_pass(1);
  policy->use(3, 1);
  CHECK(std::exp2(policy->worth(2) - policy->worth(3)) == doctest::Approx(8 * std::exp2(-1.0 / 128)));
}

TEST_CASE("counts that fade stay numbers for as long as anybody can wait") {
  const auto policy = make_policy(PolicyKind::Lfu, 3, {});
  use(*policy, 0);
  let_pass(*policy, 3'000'000);
  use(*policy, 1, 2);
  use(*policy, 0);
  use(*policy, 2);
  for (const ExpertNumber expert : {0u, 1u, 2u}) CHECK(std::isfinite(policy->worth(expert)));
  CHECK(policy->worth(1) > policy->worth(2));
  CHECK(policy->worth(2) > policy->worth(0));
}

TEST_CASE("static obeys the heat and nothing else") {
  const float heat[] = {0.25f, 1, 0, 0.5f};
  const auto policy = make_policy(PolicyKind::StaticHeat, 6, heat);
  const ExpertNumber in_order[] = {2, 0, 3, 1};
  for (int round = 0; round < 2; ++round) {
    for (size_t i = 1; i < 4; ++i) CHECK(policy->worth(in_order[i - 1]) < policy->worth(in_order[i]));
    for (const ExpertNumber unknown : {4u, 5u}) CHECK(policy->worth(unknown) == policy->worth(2));
    use(*policy, 2, 100);
    use(*policy, 4);
  }
}

TEST_CASE("hybrid starts from the heat, and what happens outweighs it in time") {
  const float heat[] = {0.1f, 0.5f, 0, 0.2f};
  const auto policy = make_policy(PolicyKind::Hybrid, 5, heat);
  const ExpertNumber in_order[] = {2, 0, 3, 1};
  for (size_t i = 1; i < 4; ++i) CHECK(policy->worth(in_order[i - 1]) < policy->worth(in_order[i]));
  CHECK(policy->worth(4) == policy->worth(2));
  use(*policy, 4);
  let_pass(*policy, static_cast<int>(engine::kRecentPasses));
  CHECK(policy->worth(4) < policy->worth(0));  // a use is less than a tenth of 64 tokens
  use(*policy, 4, 40);
  let_pass(*policy, static_cast<int>(engine::kRecentPasses));
  CHECK(policy->worth(4) > policy->worth(1));
  // LFU knows no heat.
  const auto lfu = make_policy(PolicyKind::Lfu, 5, heat);
  for (const ExpertNumber expert : {1u, 2u, 3u, 4u}) CHECK(lfu->worth(expert) == lfu->worth(0));
}

TEST_CASE("heat of another number of experts, or none, does no harm") {
  for (const PolicyKind kind : engine::kPolicies) {
    for (const size_t n_heat : {0u, 1u, 3u, 100u}) {
      const std::vector<float> heat(n_heat, 0.5f);
      const auto policy = make_policy(kind, 3, heat);
      for (ExpertNumber expert = 0; expert < 3; ++expert) {
        policy->begin_pass(1);
        CHECK(std::isfinite(policy->use(expert, 1)));
      }
    }
    const auto none = make_policy(kind, 0, {});
    none->begin_pass(1);
  }
}

}  // namespace sluice::tests
