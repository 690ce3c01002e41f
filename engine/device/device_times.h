// Where the time of a stream's passes went.
#pragma once

#include <algorithm>

namespace sluice::engine {

// Sums over passes, of devices that run beside the host; all zero for others.
struct DeviceTimes {
  double pass_seconds = 0;         // from the start of a pass to its end, by the host's clock
  double waited_seconds = 0;       // of these, the device stood still until the host's part of a layer came
  double host_seconds = 0;         // the host computed its parts
  double host_waited_seconds = 0;  // it waited for what the device chose
};

// Of devices that take turns in the same passes.
inline DeviceTimes together(const DeviceTimes& a, const DeviceTimes& b) {
  return {std::max(a.pass_seconds, b.pass_seconds), a.waited_seconds + b.waited_seconds,
          a.host_seconds + b.host_seconds, a.host_waited_seconds + b.host_waited_seconds};
}

inline DeviceTimes operator-(const DeviceTimes& a, const DeviceTimes& b) {
  return {a.pass_seconds - b.pass_seconds, a.waited_seconds - b.waited_seconds, a.host_seconds - b.host_seconds,
          a.host_waited_seconds - b.host_waited_seconds};
}

}  // namespace sluice::engine
