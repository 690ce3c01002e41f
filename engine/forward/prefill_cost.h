// Is it faster to bring all experts that a device does not hold to it, for one pass of a prompt, or to let the host multiply by them, as in
// decode, some rows at a time?
#pragma once

#include <algorithm>
#include <cstdint>

namespace sluice::engine {

// What bringing all missed experts takes, whatever the rows.
struct StreamSeconds {
  double link = 0;
  double disk = 0;  // for those that are not in the host's memory

  double at_once() const { return std::max(link, disk); }
  StreamSeconds& operator+=(const StreamSeconds& other) {
    link += other.link;
    disk += other.disk;
    return *this;
  }
};

// Judged by live timings. Streaming takes what link or disk take for the bytes, and some time a row; passes that the host has a part in take
// their time a row.
class PrefillCost {
 public:
  // Of a pass of fewer most is the same for one row as for all.
  static constexpr int64_t kFewestRows = 8;
  void took_shared(int64_t n_rows, double seconds);
  void took_streamed(int64_t n_rows, double seconds, const StreamSeconds& missed);

  // For a prompt of so many rows. Streaming is, where it is as fast.
  bool is_streaming_faster(int64_t n_rows, const StreamSeconds& missed) const;

  double shared_row_seconds() const { return shared_row_seconds_; }      // 0: not measured
  double streamed_row_seconds() const { return streamed_row_seconds_; }  // besides those
 private:
  double shared_row_seconds_ = 0, streamed_row_seconds_ = 0;
};

}  // namespace sluice::engine
