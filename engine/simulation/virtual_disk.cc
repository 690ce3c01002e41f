#include "engine/simulation/virtual_disk.h"

#include <algorithm>

namespace sluice::engine {

VirtualDisk::LoadNumber VirtualDisk::begin(double bytes, Urgency urgency) {
  const auto load = static_cast<LoadNumber>(bytes_left_.size());
  bytes_left_.push_back(bytes);
  urgency_.push_back(urgency);
  queues_[static_cast<size_t>(urgency)].push_back(load);
  queued_bytes_ += bytes;
  return load;
}

void VirtualDisk::hasten(LoadNumber load) {
  if (is_done(load) || urgency_[load] == Urgency::Now) return;
  urgency_[load] = Urgency::Now;
  queues_[static_cast<size_t>(Urgency::Now)].push_back(load);
}

void VirtualDisk::cancel(LoadNumber load) {
  queued_bytes_ -= std::max(0.0, bytes_left_[load]);
  bytes_left_[load] = 0;
}

void VirtualDisk::run(double seconds) {
  double bytes = std::min(seconds * bytes_per_second_, queued_bytes_);
  bytes_read_ += bytes;
  queued_bytes_ -= bytes;
  for (size_t urgency = 0; urgency < queues_.size(); ++urgency) {
    auto& queue = queues_[urgency];
    while (!queue.empty() && bytes > 0) {
      const LoadNumber load = queue.front();
      if (is_done(load) || static_cast<size_t>(urgency_[load]) != urgency) {
        queue.pop_front();
        continue;
      }
      const double part = std::min(bytes, bytes_left_[load]);
      bytes_left_[load] -= part;
      bytes -= part;
      // Rounding must not leave a rest that is never read.
      if (bytes_left_[load] < 1) {
        queued_bytes_ = std::max(0.0, queued_bytes_ - bytes_left_[load]);
        bytes_left_[load] = 0;
      }
    }
  }
}

double VirtualDisk::seconds_until(LoadNumber load) const {
  if (is_done(load)) return 0;
  double bytes = 0;
  for (size_t urgency = 0; urgency <= static_cast<size_t>(urgency_[load]); ++urgency) {
    for (const LoadNumber other : queues_[urgency]) {
      if (is_done(other) || static_cast<size_t>(urgency_[other]) != urgency) continue;
      bytes += bytes_left_[other];
      if (other == load) return bytes / bytes_per_second_;
    }
  }
  return bytes / bytes_per_second_;
}

}  // namespace sluice::engine
