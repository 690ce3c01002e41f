#include "engine/session/divergence.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace sluice::engine {

// log sum exp
static double log_partition(std::span<const float> logits) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum);
}

double kl_divergence(std::span<const float> reference, std::span<const float> logits) {
  const double log_z_p = log_partition(reference), log_z_q = log_partition(logits);
  double sum = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double log_p = reference[i] - log_z_p, log_q = logits[i] - log_z_q;
    sum += std::exp(log_p) * (log_p - log_q);
  }
  return std::max(0.0, sum);  // rounding may leave an ulp below
}

void LogitsComparison::add(std::span<const float> reference, std::span<const float> logits) {
  const double kl = kl_divergence(reference, logits);
  ++n_positions;
  mean_kl += (kl - mean_kl) / static_cast<double>(n_positions);
  largest_kl = std::max(largest_kl, kl);
  if (std::memcmp(reference.data(), logits.data(), reference.size_bytes()) == 0) ++n_equal;
  const auto choice = [](std::span<const float> x) { return std::ranges::max_element(x) - x.begin(); };
  if (choice(reference) == choice(logits)) ++n_same_choice;
  for (size_t i = 0; i < reference.size(); ++i)
    largest_difference = std::max(largest_difference, std::abs(double{reference[i]} - double{logits[i]}));
}

}  // namespace sluice::engine
