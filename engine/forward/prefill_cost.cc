#include "engine/forward/prefill_cost.h"

#include <algorithm>

namespace sluice::engine {
namespace {

// Passes differ by what their rows choose, and what else the machine does.
constexpr double kShareOfNew = 0.25;
// Until the host was timed: 32 rows choose two thirds of the experts, and RAM is read 2.7 times as fast as the link brings them.
constexpr double kAssumedRows = 32, kAssumedShare = 2.0 / 3, kAssumedShareOfLink = 1.0 / 4;

void follow(double& average, double measured) {
  average += average > 0 ? kShareOfNew * (measured - average) : measured;
}

}  // namespace

void PrefillCost::took_shared(int64_t n_rows, double seconds) {
  if (n_rows >= kFewestRows && seconds > 0) follow(shared_row_seconds_, seconds / static_cast<double>(n_rows));
}

void PrefillCost::took_streamed(int64_t n_rows, double seconds, const StreamSeconds& missed) {
  if (n_rows > 0)
    follow(streamed_row_seconds_, std::max(0.0, seconds - missed.at_once()) / static_cast<double>(n_rows));
}

bool PrefillCost::is_streaming_faster(int64_t n_rows, const StreamSeconds& missed) const {
  const auto n = static_cast<double>(n_rows);
  const double assumed = std::max(missed.link * kAssumedShareOfLink, missed.disk * kAssumedShare) / kAssumedRows;
  const double a_row = shared_row_seconds_ > 0 ? shared_row_seconds_ : assumed;
  return missed.at_once() + n * streamed_row_seconds_ <= n * a_row;
}

}  // namespace sluice::engine
