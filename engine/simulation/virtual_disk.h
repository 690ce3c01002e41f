// A disk on a clock that somebody else moves: loads wait in three degrees of urgency as in engine/store/loader.h, and the most urgent
// one is read, at the disk's whole rate.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <vector>

namespace sluice::engine {

class VirtualDisk {
 public:
  enum class Urgency { Now, Certain, Guess };
  using LoadNumber = uint32_t;

  explicit VirtualDisk(double bytes_per_second) : bytes_per_second_(bytes_per_second) {}

  LoadNumber begin(double bytes, Urgency urgency);
  void hasten(LoadNumber load);  // to Now
  void cancel(LoadNumber load);  // what is left of it is not read
  bool is_done(LoadNumber load) const { return bytes_left_[load] <= 0; }

  // Reads for so long, or until nothing is left.
  void run(double seconds);
  // From now until nothing is left, if nothing more comes.
  double busy_seconds_left() const { return queued_bytes_ / bytes_per_second_; }
  // Until the load is done, when the clock does nothing else: what is as urgent and came before it is read first.
  double seconds_until(LoadNumber load) const;

  double bytes_read() const { return bytes_read_; }
  double busy_seconds() const { return bytes_read_ / bytes_per_second_; }

 private:
  double bytes_per_second_;
  std::vector<double> bytes_left_;                // of each load
  std::array<std::deque<LoadNumber>, 3> queues_;  // the done and the moved are skipped
  std::vector<Urgency> urgency_;                  // of each load
  double queued_bytes_ = 0;
  double bytes_read_ = 0;
};

}  // namespace sluice::engine
