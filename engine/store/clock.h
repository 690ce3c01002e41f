// The clock that the store's statistics run by.
#pragma once

#include <chrono>

namespace sluice::engine {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace sluice::engine
