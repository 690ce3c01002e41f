#include "kernels/reference/router.h"

#include <cmath>
#include <stdexcept>
#include <vector>

#include "kernels/reference/softmax.h"
#include "kernels/reference/swiglu.h"

namespace sluice::kernels::reference {

void check(const RouterRule& rule) {
  const bool groups_divide = rule.n_groups > 0 && rule.n_experts > 0 && rule.n_experts % rule.n_groups == 0;
  if (!groups_divide || rule.n_chosen_groups <= 0 || rule.n_chosen_groups > rule.n_groups)
    throw std::invalid_argument(
        "The router's groups do not divide its experts, or more groups are to be chosen than there are.");
  if (rule.n_chosen <= 0 || rule.n_chosen > rule.n_experts / rule.n_groups * rule.n_chosen_groups)
    throw std::invalid_argument("The router is to choose more experts than its groups have, or none.");
}

// The index of the largest score that is still free, the lowest of equals.
static size_t best_free(const std::vector<float>& scores, const std::vector<bool>& taken) {
  size_t best = scores.size();
  for (size_t i = 0; i < scores.size(); ++i)
    if (!taken[i] && (best == scores.size() || scores[i] > scores[best])) best = i;
  return best;
}

static float group_score(GroupScore kind, const float* scores, size_t n) {
  float first = -INFINITY, second = -INFINITY;
  for (size_t i = 0; i < n; ++i) {
    if (scores[i] > first) {
      second = first;
      first = scores[i];
    } else if (scores[i] > second) {
      second = scores[i];
    }
  }
  return kind == GroupScore::Max || n == 1 ? first : first + second;
}

void route(const RouterRule& rule, const float* logits, const float* bias, int32_t* experts, float* weights) {
  check(rule);
  const size_t n_experts = static_cast<size_t>(rule.n_experts), n_chosen = static_cast<size_t>(rule.n_chosen);
  std::vector<float> probabilities(n_experts), scores(n_experts);
  if (rule.gating == Gating::Softmax)
    softmax(logits, rule.n_experts, probabilities.data());
  else
    for (size_t i = 0; i < n_experts; ++i) probabilities[i] = sigmoid(logits[i]);
  for (size_t i = 0; i < n_experts; ++i) {
    scores[i] = bias != nullptr ? probabilities[i] + bias[i] : probabilities[i];
    if (std::isnan(scores[i])) scores[i] = -INFINITY;
  }

  std::vector<bool> taken(n_experts, rule.n_groups > 1);
  if (rule.n_groups > 1) {
    const size_t n_groups = static_cast<size_t>(rule.n_groups), group_size = n_experts / n_groups;
    std::vector<float> group_scores(n_groups);
    std::vector<bool> group_kept(n_groups);
    for (size_t g = 0; g < n_groups; ++g)
      group_scores[g] = group_score(rule.group_score, &scores[g * group_size], group_size);
    for (int64_t i = 0; i < rule.n_chosen_groups; ++i) group_kept[best_free(group_scores, group_kept)] = true;
    for (size_t i = 0; i < n_experts; ++i) taken[i] = !group_kept[i / group_size];
  }

  double sum = 0;
  for (size_t i = 0; i < n_chosen; ++i) {
    const size_t expert = best_free(scores, taken);
    taken[expert] = true;
    experts[i] = static_cast<int32_t>(expert);
    weights[i] = probabilities[expert];
    sum += weights[i];
  }
  const float divisor = rule.normalize && sum != 0 ? static_cast<float>(sum) : 1.0f;
  for (size_t i = 0; i < n_chosen; ++i) weights[i] = weights[i] / divisor * rule.scale;
}

}  // namespace sluice::kernels::reference
