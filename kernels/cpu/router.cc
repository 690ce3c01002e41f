#include "kernels/cpu/router.h"

#include <cmath>
#include <span>
#include <vector>

#include "kernels/cpu/row_operations.h"

namespace sluice::kernels {
namespace {

using reference::GroupScore;
using reference::RouterRule;

// The largest scores so far in descending order, the first of equals first.
class Best {
 public:
  Best(int32_t* ids, int64_t n_wanted) : ids_(ids), n_wanted_(n_wanted), scores_(static_cast<size_t>(n_wanted)) {}

  void consider(float score, int64_t id) {
    if (n_ == n_wanted_ && !(score > scores_[static_cast<size_t>(n_ - 1)])) return;
    int64_t place = n_ < n_wanted_ ? n_++ : n_ - 1;
    for (; place > 0 && score > scores_[static_cast<size_t>(place - 1)]; --place) {
      scores_[static_cast<size_t>(place)] = scores_[static_cast<size_t>(place - 1)];
      ids_[place] = ids_[place - 1];
    }
    scores_[static_cast<size_t>(place)] = score;
    ids_[place] = static_cast<int32_t>(id);
  }

 private:
  int32_t* ids_;
  int64_t n_wanted_, n_ = 0;
  std::vector<float> scores_;
};

float group_score(GroupScore kind, std::span<const float> scores) {
  float first = -INFINITY, second = -INFINITY;
  for (const float score : scores) {
    if (score > first) {
      second = first;
      first = score;
    } else if (score > second) {
      second = score;
    }
  }
  return kind == GroupScore::Max || scores.size() == 1 ? first : first + second;
}

}  // namespace

void route_row(const RouterRule& rule, const float* logits, const float* bias, int32_t* experts, float* weights) {
  reference::check(rule);
  const auto n_experts = static_cast<size_t>(rule.n_experts);
  std::vector<float> probabilities(n_experts), scores(n_experts);
  if (rule.gating == reference::Gating::Softmax)
    row_operations().softmax(logits, rule.n_experts, probabilities.data());
  else
    row_operations().sigmoid(logits, rule.n_experts, probabilities.data());
  for (size_t i = 0; i < n_experts; ++i) {
    scores[i] = bias != nullptr ? probabilities[i] + bias[i] : probabilities[i];
    if (std::isnan(scores[i])) scores[i] = -INFINITY;
  }

  const size_t group_size = n_experts / static_cast<size_t>(rule.n_groups);
  std::vector<int32_t> groups(static_cast<size_t>(rule.n_chosen_groups));
  Best best_groups(groups.data(), rule.n_chosen_groups);
  for (int64_t g = 0; g < rule.n_groups; ++g) {
    const auto own = std::span(scores).subspan(static_cast<size_t>(g) * group_size, group_size);
    best_groups.consider(rule.n_groups == rule.n_chosen_groups ? 0 : group_score(rule.group_score, own), g);
  }
  std::vector<bool> kept(static_cast<size_t>(rule.n_groups), false);
  for (const int32_t g : groups) kept[static_cast<size_t>(g)] = true;

  // In the order of experts, so that the lower of equals comes first.
  Best best(experts, rule.n_chosen);
  for (size_t g = 0; g < kept.size(); ++g)
    for (size_t i = g * group_size; kept[g] && i < (g + 1) * group_size; ++i)
      best.consider(scores[i], static_cast<int64_t>(i));

  double sum = 0;
  for (int64_t i = 0; i < rule.n_chosen; ++i) {
    weights[i] = probabilities[static_cast<size_t>(experts[i])];
    sum += static_cast<double>(weights[i]);
  }
  const float divisor = rule.normalize && sum != 0 ? static_cast<float>(sum) : 1.0f;
  for (int64_t i = 0; i < rule.n_chosen; ++i) weights[i] = weights[i] / divisor * rule.scale;
}

}  // namespace sluice::kernels
