#include "kernels/reference/router.h"

#include <doctest/doctest.h>

#include <cmath>
#include <set>
#include <stdexcept>
#include <vector>

using namespace sluice::kernels::reference;
using doctest::Approx;

namespace {

struct Routed {
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

Routed routed(const RouterRule& rule, const std::vector<float>& logits, const std::vector<float>& bias = {}) {
  REQUIRE(logits.size() == static_cast<size_t>(rule.n_experts));
  Routed result{std::vector<int32_t>(static_cast<size_t>(rule.n_chosen)),
                std::vector<float>(static_cast<size_t>(rule.n_chosen))};
  route(rule, logits.data(), bias.empty() ? nullptr : bias.data(), result.experts.data(), result.weights.data());
  return result;
}

using Experts = std::vector<int32_t>;

float logit(float p) {
  return std::log(p / (1 - p));
}

}  // namespace

TEST_CASE("softmax gating chooses the largest, with their probabilities as they are or renormalised and scaled") {
  RouterRule rule{.n_experts = 4, .n_chosen = 2};
  const std::vector<float> logits = {std::log(1.0f), std::log(4.0f), std::log(2.0f), std::log(3.0f)};
  Routed result = routed(rule, logits);
  CHECK(result.experts == Experts{1, 3});
  CHECK(result.weights[0] == Approx(0.4));
  CHECK(result.weights[1] == Approx(0.3));
  rule.normalize = true;
  rule.scale = 7;
  result = routed(rule, logits);
  CHECK(result.weights[0] == Approx(4));
  CHECK(result.weights[1] == Approx(3));
}

TEST_CASE("sigmoid gating judges each expert alone") {
  const RouterRule rule{.n_experts = 3, .n_chosen = 2, .gating = Gating::Sigmoid, .scale = 2};
  const Routed result = routed(rule, {logit(0.25f), logit(0.9f), logit(0.5f)});
  CHECK(result.experts == Experts{1, 2});
  CHECK(result.weights[0] == Approx(1.8));
  CHECK(result.weights[1] == Approx(1.0));
}

TEST_CASE("the bias steers the choice and its order but not the weights") {
  const RouterRule rule{.n_experts = 4, .n_chosen = 2, .gating = Gating::Sigmoid, .normalize = true, .scale = 2.5f};
  const std::vector<float> logits = {logit(0.2f), logit(0.6f), logit(0.5f), logit(0.3f)};
  const Routed result = routed(rule, logits, {1, 0, 0, 0.25f});  // s = 1.2, 0.6, 0.5, 0.55
  CHECK(result.experts == Experts{0, 1});
  CHECK(result.weights[0] == Approx(0.2 / 0.8 * 2.5));
  CHECK(result.weights[1] == Approx(0.6 / 0.8 * 2.5));
}

TEST_CASE("ties go to the lower index") {
  const RouterRule rule{.n_experts = 6, .n_chosen = 3};
  CHECK(routed(rule, {0, 0, 0, 0, 0, 0}).experts == Experts{0, 1, 2});
  CHECK(routed(rule, {0, 1, 0, 1, 0, 0}).experts == Experts{1, 3, 0});
  CHECK(routed(rule, {1, 2, 3, 2, 2, 0}).experts == Experts{2, 1, 3});
}

TEST_CASE("groups limit the choice: by the sum of the best two, or by the best one") {
  // Four groups of three, p + b as below: sums of the best two 1.2, 1.0, 0.5, 1.3; best ones 0.7, 0.9, 0.3, 0.65
  const std::vector<float> p = {0.7f, 0.5f, 0.1f, 0.9f, 0.1f, 0.05f, 0.3f, 0.2f, 0.2f, 0.65f, 0.1f, 0.65f};
  std::vector<float> logits;
  for (float value : p) logits.push_back(logit(value));
  RouterRule rule{.n_experts = 12, .n_chosen = 4, .gating = Gating::Sigmoid, .n_groups = 4, .n_chosen_groups = 2};
  Routed result = routed(rule, logits);  // groups 3 and 0: the best expert of all, 3, is out
  CHECK(result.experts == Experts{0, 9, 11, 1});
  CHECK(result.weights[0] == Approx(0.7));
  rule.group_score = GroupScore::Max;  // groups 1 and 0
  CHECK(routed(rule, logits).experts == Experts{3, 0, 1, 2});
  rule.n_chosen_groups = 4;
  CHECK(routed(rule, logits).experts == Experts{3, 0, 9, 11});
}

TEST_CASE(
    "the bias counts in the choice of groups, and experts of lost groups are never chosen, however low the others") {
  RouterRule rule{.n_experts = 4, .n_chosen = 2, .gating = Gating::Sigmoid, .n_groups = 2, .n_chosen_groups = 1};
  CHECK(routed(rule, {0, 0, 1, 1}, {0, 0, 0, 0}).experts == Experts{2, 3});
  CHECK(routed(rule, {0, 0, 1, 1}, {9, -8, 0, -1}).experts == Experts{0, 1});  // expert 1 stands at -7.5, 2 at 0.7
}

TEST_CASE("ties among groups go to the lower group") {
  RouterRule rule{.n_experts = 8, .n_chosen = 2, .gating = Gating::Sigmoid, .n_groups = 4, .n_chosen_groups = 2};
  const std::vector<float> zeros(8);  // p = 1/2; the bias leaves all sums at 1
  CHECK(routed(rule, zeros, {0, 0, 0, 0, 0.25f, -0.25f, 0, 0}).experts == Experts{0, 1});
  CHECK(routed(rule, zeros, {0, 0, 0, 0, 0.25f, -0.125f, 0, 0}).experts == Experts{4, 0});
  rule.n_chosen_groups = 1;
  CHECK(routed(rule, {-1, -1, 2, 2, 2, 2, 0, 0}).experts == Experts{2, 3});
}

TEST_CASE("a group of one expert has its own score") {
  const RouterRule rule{.n_experts = 3, .n_chosen = 1, .gating = Gating::Sigmoid, .n_groups = 3, .n_chosen_groups = 1};
  CHECK(routed(rule, {-1, 2, 0}).experts == Experts{1});
}

TEST_CASE("probabilities of zero leave weights of zero when renormalised") {
  const RouterRule rule{.n_experts = 3, .n_chosen = 2, .gating = Gating::Sigmoid, .normalize = true};
  const Routed result = routed(rule, {-1000, -1000, -1000});
  CHECK(result.experts == Experts{0, 1});
  CHECK(result.weights == std::vector<float>{0, 0});
}

TEST_CASE("even of undefined logits different experts are chosen") {
  const RouterRule rule{.n_experts = 5, .n_chosen = 4, .gating = Gating::Sigmoid};
  const Routed result = routed(rule, {NAN, 1, NAN, NAN, 2});
  CHECK(result.experts == Experts{4, 1, 0, 2});
  CHECK(std::isnan(result.weights[2]));
}

TEST_CASE("all of 256 experts can be ranked, and 8 of 8 groups limit nothing") {
  std::vector<float> logits(256);
  for (size_t i = 0; i < 256; ++i) logits[i] = static_cast<float>(i * 167 % 256) / 64;
  const RouterRule all{.n_experts = 256, .n_chosen = 256};
  const Routed ranked = routed(all, logits);
  CHECK(std::set(ranked.experts.begin(), ranked.experts.end()).size() == 256);
  for (size_t i = 1; i < 256; ++i) CHECK(ranked.weights[i - 1] > ranked.weights[i]);
  RouterRule grouped{.n_experts = 256, .n_chosen = 8, .n_groups = 8, .n_chosen_groups = 8};
  const Routed eight = routed(grouped, logits);
  for (size_t i = 0; i < 8; ++i) CHECK(eight.experts[i] == ranked.experts[i]);
}

TEST_CASE("rules that cannot be fulfilled are refused") {
  const std::vector<float> logits(8);
  for (const RouterRule& rule : {RouterRule{.n_experts = 8, .n_chosen = 9}, RouterRule{.n_experts = 8, .n_chosen = 0},
                                 RouterRule{.n_experts = 8, .n_chosen = 2, .n_groups = 3},
                                 RouterRule{.n_experts = 8, .n_chosen = 2, .n_groups = 0},
                                 RouterRule{.n_experts = 8, .n_chosen = 2, .n_groups = 2, .n_chosen_groups = 3},
                                 RouterRule{.n_experts = 8, .n_chosen = 2, .n_groups = 2, .n_chosen_groups = 0},
                                 RouterRule{.n_experts = 8, .n_chosen = 5, .n_groups = 2, .n_chosen_groups = 1}}) {
    std::vector<int32_t> experts(16);
    std::vector<float> weights(16);
    CHECK_THROWS_AS(route(rule, logits.data(), nullptr, experts.data(), weights.data()), std::invalid_argument);
  }
}
