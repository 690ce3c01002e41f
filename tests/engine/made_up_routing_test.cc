// Made-up routing has the order that its recipe asks for, and the counter finds it.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/error.h"
#include "engine/traces/made_up_routing.h"
#include "engine/traces/routing_statistics.h"

using namespace sluice;
using namespace sluice::engine::traces;

namespace {

RoutingRecipe small(double skew = 0, double locality = 0, double drift = 0) {
  RoutingRecipe recipe;
  recipe.n_layers = 5;
  recipe.n_experts = 40;
  recipe.n_used = 3;
  recipe.skew = skew;
  recipe.locality = locality;
  recipe.drift = drift;
  recipe.subject_tokens = 50;
  return recipe;
}

RoutingStatistics count(const RoutingRecipe& recipe, uint32_t n_tokens) {
  MadeUpRouting routing(recipe);
  RoutingCounter counter(routing.header());
  counter.add(routing.next(n_tokens));
  return counter.statistics();
}

}  // namespace

TEST_CASE("every token uses different experts that there are, with weights that add up to one") {
  struct Numbers {
    uint32_t n_layers, n_experts, n_used;
  };
  for (const auto& [n_layers, n_experts, n_used] : {Numbers{58, 256, 8}, {1, 1, 1}, {3, 7, 7}, {2, 9, 8}, {4, 384, 1}})
    for (const double skew : {0.0, 1.0, 10.0}) {
      CAPTURE(n_experts);
      CAPTURE(skew);
      RoutingRecipe recipe = small(skew, 0.5, 1);
      recipe.n_layers = n_layers;
      recipe.n_experts = n_experts;
      recipe.n_used = n_used;
      recipe.subject_tokens = 2;
      MadeUpRouting routing(recipe);
      const Pass pass = routing.next(7);
      REQUIRE(pass.n_rows() == 7);
      REQUIRE(pass.expert_ids.size() == 7 * routing.header().n_choices());
      for (size_t row = 0; row < 7; ++row)
        for (size_t layer = 0; layer < n_layers; ++layer) {
          const auto chosen = pass.experts(routing.header(), row, layer);
          CHECK(std::ranges::is_sorted(chosen, std::less_equal()));
          CHECK(chosen.back() < n_experts);
          const auto begin = pass.weights.begin() + (chosen.data() - pass.expert_ids.data());
          CHECK(std::accumulate(begin, begin + n_used, 0.0) == doctest::Approx(1));
        }
    }
}

TEST_CASE("the same recipe gives the same tokens, however they are cut into passes") {
  MadeUpRouting one(small(0.7, 0.3, 0.5)), other(small(0.7, 0.3, 0.5));
  const Pass whole = one.next(120);
  std::vector<uint16_t> pieces;
  uint32_t position = 0;
  for (const uint32_t n : {1u, 60u, 59u}) {
    const Pass pass = other.next(n);
    CHECK(pass.first_position == position);
    position += n;
    pieces.insert(pieces.end(), pass.expert_ids.begin(), pass.expert_ids.end());
  }
  CHECK(pieces == whole.expert_ids);
  RoutingRecipe seeded = small(0.7, 0.3, 0.5);
  seeded.seed = 2;
  CHECK(MadeUpRouting(seeded).next(120).expert_ids != whole.expert_ids);
}

TEST_CASE("skew concentrates the uses, and uniform routing has none") {
  const LayerStatistics uniform = count(small(0), 4000).mean, some = count(small(0.5), 4000).mean,
                        much = count(small(1.5), 4000).mean;
  CHECK(uniform.top_share.at(3) == doctest::Approx(0.5).epsilon(0.05));  // half of the experts
  CHECK(uniform.entropy_bits == doctest::Approx(std::log2(40)).epsilon(0.002));
  CHECK(uniform.n_seen == 40);
  CHECK(some.top_share.at(1) > uniform.top_share.at(1) + 0.1);
  CHECK(much.top_share.at(1) > some.top_share.at(1) + 0.1);
  CHECK(some.entropy_bits < uniform.entropy_bits - 0.1);
  CHECK(much.entropy_bits < some.entropy_bits - 0.5);
}

TEST_CASE("locality repeats experts more often than chance would, and without it chance explains all") {
  const LayerStatistics none = count(small(1), 4000).mean, some = count(small(1, 0.4), 4000).mean,
                        all = count(small(1, 1), 4000).mean;
  CHECK(none.repeated == doctest::Approx(none.expected_repeated).epsilon(0.05));
  CHECK(count(small(0), 4000).mean.expected_repeated == doctest::Approx(3.0 / 40).epsilon(0.02));
  CHECK(some.repeated > some.expected_repeated + 0.2);
  CHECK(all.repeated == 1);
}

TEST_CASE("drift changes the favourites with the subject") {
  const auto top_of = [](double drift) { return count(small(1.5, 0, drift), 5000).mean.top_share.at(0); };
  CHECK(top_of(1) < top_of(0) - 0.1);
}

TEST_CASE("recipes that are none are refused") {
  const auto refused = [](auto change) {
    RoutingRecipe recipe = small();
    change(recipe);
    CHECK_THROWS_AS(MadeUpRouting{recipe}, engine::Error);
  };
  refused([](RoutingRecipe& r) { r.n_layers = 0; });
  refused([](RoutingRecipe& r) { r.n_layers = 65537; });
  refused([](RoutingRecipe& r) { r.n_experts = 65537; });
  refused([](RoutingRecipe& r) { r.n_used = 0; });
  refused([](RoutingRecipe& r) { r.n_used = 41; });
  refused([](RoutingRecipe& r) { r.n_layers = r.n_experts = r.n_used = 65536; });
  refused([](RoutingRecipe& r) { r.skew = -1; });
  refused([](RoutingRecipe& r) { r.skew = std::nan(""); });
  refused([](RoutingRecipe& r) { r.locality = 1.5; });
  refused([](RoutingRecipe& r) { r.drift = -0.1; });
  refused([](RoutingRecipe& r) { r.subject_tokens = 0; });
}

TEST_CASE("a trace is counted by hand") {
  const TraceHeader header{"", "", 9, {3, 8}, 4, 2};
  RoutingCounter counter(header);
  CHECK_THROWS_AS(counter.statistics(), engine::Error);
  counter.add({0, {7, 7}, {0, 1, 0, 3, /*second row*/ 0, 2, 3, 1}, std::vector<float>(8, 1)});
  counter.add({2, {7}, {2, 0, 0, 2}, std::vector<float>(4, 1)});
  const RoutingStatistics all = counter.statistics();
  CHECK(all.n_tokens == 3);
  CHECK(all.n_passes == 2);
  CHECK(all.n_prompt_tokens == 2);
  REQUIRE(all.layers.size() == 2);
  const LayerStatistics& first = all.layers[0];  // uses 3, 1, 2, 0
  CHECK(first.layer == 3);
  CHECK(first.n_seen == 3);
  CHECK(first.top_share == std::vector<double>{0.5, 0.5, 0.5, 5.0 / 6});
  CHECK(first.entropy_bits == doctest::Approx(0.5 + std::log2(6.0) / 6 + std::log2(3.0) / 3));
  CHECK(first.repeated == doctest::Approx(3.0 / 4));  // the 0, then both
  CHECK(first.expected_repeated == doctest::Approx((1 + 1.0 / 9 + 4.0 / 9) / 2));
  CHECK(all.layers[1].repeated == doctest::Approx(1.0 / 4));  // the 3, then none
  CHECK(all.mean.repeated == doctest::Approx(0.5));
}
