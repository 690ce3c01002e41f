#include "engine/forward/miss_split.h"

#include <algorithm>

namespace sluice::engine {

void MissSplit::took(int64_t n_experts, double seconds) {
  // Follows a change of load within some layers.
  constexpr double kShareOfNew = 1.0 / 64;
  if (n_experts <= 0 || seconds <= 0) return;
  const double each = seconds / static_cast<double>(n_experts);
  seconds_of_an_expert_ += seconds_of_an_expert_ > 0 ? kShareOfNew * (each - seconds_of_an_expert_) : each;
}

std::span<const uint32_t> MissSplit::counts(double link_seconds, double other_seconds) {
  for (size_t n_missed = 0; n_missed < counts_.size(); ++n_missed) {
    const auto seconds = [&](size_t n_read) {
      return std::max(static_cast<double>(n_missed - n_read) * seconds_of_an_expert_,
                      other_seconds + static_cast<double>(n_read) * link_seconds);
    };
    size_t best = 0;
    for (size_t n_read = 1; n_read <= n_missed; ++n_read)
      if (seconds(n_read) < seconds(best)) best = n_read;
    counts_[n_missed] = static_cast<uint32_t>(best);
  }
  return counts_;
}

}  // namespace sluice::engine
