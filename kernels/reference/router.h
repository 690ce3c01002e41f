// Which experts a token goes to, and with what weights (DeepSeek-AI 2024: DeepSeek-V2, section 2.1.2; DeepSeek-V3,
// equations 12-16).
//
//   p = softmax(logits) or sigmoid(logits), each
//   s = p + bias                                          the bias steers the choice only
//   groups: experts stand in n_groups equal groups in order; keep the n_chosen_groups with the best group score, by s
//   chosen = the n_chosen largest s of the kept groups
//   w = p[chosen], divided by its sum if `normalize`, times `scale`
//
// Experts come in the order of descending s. Ties go to the lower index, among groups too. All is in f32, the sum of w
// in double; a sum of 0 leaves the weights 0. A NaN counts as -infinity in choosing, so that the choice is always
// n_chosen different experts.
#pragma once

#include <cstdint>

namespace sluice::kernels::reference {

enum class Gating { Softmax, Sigmoid };

enum class GroupScore {
  Max,        // of s in the group (DeepSeek-V2)
  TopTwoSum,  // of the two largest s in the group (DeepSeek-V3)
};

struct RouterRule {
  int64_t n_experts;
  int64_t n_chosen;
  Gating gating = Gating::Softmax;
  bool normalize = false;
  float scale = 1;
  int64_t n_groups = 1;
  int64_t n_chosen_groups = 1;
  GroupScore group_score = GroupScore::TopTwoSum;
};

// Throws std::invalid_argument when the rule cannot be fulfilled (more experts to choose than the kept groups have,
// groups that do not divide).
void check(const RouterRule& rule);

// logits [n_experts], bias [n_experts] or null, experts and weights [n_chosen]. Checks the rule.
void route(const RouterRule& rule, const float* logits, const float* bias, int32_t* experts, float* weights);

}  // namespace sluice::kernels::reference
