// How far the logits of one way to compute are from those of another.
#pragma once

#include <cstddef>
#include <span>

namespace sluice::engine {

// The Kullback-Leibler divergence, in nats, of the distribution softmax(logits) from softmax(reference):
// sum over tokens of p (log p - log q), p of the reference. Both have as many finite values, at least one.
double kl_divergence(std::span<const float> reference, std::span<const float> logits);

// The same over many positions.
struct LogitsComparison {
  size_t n_positions = 0;
  size_t n_equal = 0;        // positions whose logits are the same bits
  size_t n_same_choice = 0;  // positions with the same likeliest token
  double mean_kl = 0;        // nats
  double largest_kl = 0;
  double largest_difference = 0;  // of two logits

  void add(std::span<const float> reference, std::span<const float> logits);
};

}  // namespace sluice::engine
