#include "engine/store/popularity.h"

#include <algorithm>
#include <cmath>

namespace sluice::engine {

// Tokens after which a use counts for 1/e. A longer memory tells more of what stays, a shorter one follows a change of subject sooner.
static constexpr double kMemoryTokens = 92;
// How many tokens' worth of evidence a learned heat is.
static constexpr double kTokensOfHeat = 64;
// Weights grow until then, long before numbers end.
static constexpr double kMostWeight = 1e30;
static constexpr double kMostLocality = 0.9;

Popularity::Popularity(std::vector<int64_t> n_experts, std::span<const float> heat, size_t n_experts_a_layer)
    : n_experts_a_layer_(n_experts_a_layer) {
  for (const int64_t n : n_experts) {
    layers_.push_back({static_cast<double>(n), 0});
    n_experts_a_layer_ = std::max(n_experts_a_layer_, static_cast<size_t>(n));
    n_experts_ += static_cast<double>(n);
  }
  counts_.resize(layers_.size() * n_experts_a_layer_, 0);
  last_pass_.resize(counts_.size(), 0);
  if (heat.size() != counts_.size() || std::ranges::all_of(heat, [](float uses) { return uses <= 0; })) return;
  tokens_ = squares_ = kTokensOfHeat;
  for (size_t i = 0; i < counts_.size(); ++i) {
    counts_[i] = kTokensOfHeat * static_cast<double>(heat[i]);
    layers_[i / n_experts_a_layer_].count += counts_[i];
    sum_of_squares_ += counts_[i] * counts_[i];
  }
}

void Popularity::begin_pass(int64_t n_rows) {
  const auto n = static_cast<double>(n_rows);
  ++n_passes_;
  is_token_ = n_rows == 1 && last_rows_ == 1;
  last_rows_ = n_rows;
  weight_ *= std::exp(n / kMemoryTokens);
  if (weight_ > kMostWeight) shrink_weights();
  tokens_ += n * weight_;
  squares_ += n * weight_ * weight_;
}

void Popularity::shrink_weights() {
  for (double& count : counts_) count /= weight_;
  for (Layer& layer : layers_) layer.count /= weight_;
  tokens_ /= weight_;
  squares_ /= weight_ * weight_;
  repeats_ /= weight_;
  chances_ /= weight_;
  sum_of_squares_ /= weight_ * weight_;
  weight_ = 1;
}

void Popularity::use(ExpertNumber expert, int64_t n_rows) {
  const double added = static_cast<double>(n_rows) * weight_;
  double& count = counts_[expert];
  sum_of_squares_ += added * (2 * count + added);
  count += added;
  layers_[expert / n_experts_a_layer_].count += added;
  if (is_token_) {
    chances_ += weight_;
    if (last_pass_[expert] + 1 == n_passes_) repeats_ += weight_;
  }
  last_pass_[expert] = n_passes_;
}

double Popularity::locality() const {
  double all = 0;
  for (const Layer& layer : layers_) all += layer.count;
  if (chances_ <= 0 || all <= 0) return 0;
  const double by_popularity = std::min(1.0, sum_of_squares_ / (tokens_ * all));
  const double repeats = repeats_ / chances_;
  return repeats > by_popularity ? std::min(kMostLocality, (repeats - by_popularity) / (1 - by_popularity)) : 0;
}

double Popularity::certainty() const {
  if (tokens_ <= 0 || n_experts_ < 2) return 0;
  // Of tokens that choose by equal chances a count's variance is its mean, with the squares of the weights for the weights.
  double seen = sum_of_squares_, by_chance = 0;
  for (const Layer& layer : layers_) {
    if (layer.n_experts == 0) continue;
    seen -= layer.count * layer.count / layer.n_experts;
    by_chance += layer.count * squares_ / tokens_;
  }
  // Where tokens keep experts of those before them, fewer of the choices are independent.
  by_chance *= (1 + locality()) / (1 - locality());
  // And it is known no better than so many experts tell: two standard errors are chance as well.
  by_chance *= 1 + 2 * std::sqrt(2 / n_experts_);
  return seen > by_chance ? 1 - by_chance / seen : 0;
}

double Popularity::uses_a_token(ExpertNumber expert, double certainty) const {
  if (tokens_ <= 0) return 0;
  const Layer& layer = layers_[expert / n_experts_a_layer_];
  const double mean = layer.count / layer.n_experts;
  return (mean + certainty * (counts_[expert] - mean)) / tokens_;
}

}  // namespace sluice::engine
