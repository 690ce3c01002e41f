// How many of a layer's experts that the device does not hold it should read in the host's memory and multiply itself, while the host
// multiplies the others.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace sluice::engine {

// Judged by live timings: what the host took for its part while the device read beside it, so that the memory which both read is counted.
class MissSplit {
 public:
  explicit MissSplit(int64_t n_used) : counts_(static_cast<size_t>(n_used) + 1, 0) {}

  // The host took so long for n experts of a layer.
  void took(int64_t n_experts, double seconds);
  // Of m experts that are not there the device reads counts[m], where the link brings one in so many seconds, and it has so much else to do
  // while the host multiplies: the number for which the slower side ends first, the least of equals. Valid until the next call. Nothing is
  // read before the host was timed.
  std::span<const uint32_t> counts(double link_seconds, double other_seconds = 0);

  double seconds_of_an_expert() const { return seconds_of_an_expert_; }

 private:
  std::vector<uint32_t> counts_;
  double seconds_of_an_expert_ = 0;
};

}  // namespace sluice::engine
