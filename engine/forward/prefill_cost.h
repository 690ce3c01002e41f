// Is it faster to bring all experts that a device does not hold to it, for one pass of a prompt, or to let the host multiply by them, as in
// decode, some rows at a time?
#pragma once

#include <cstdint>

namespace sluice::engine {

// Judged by live timings. Streaming takes what the link takes for the bytes, whatever the rows, and some time a row; passes that the host has
// a part in take their time a row.
class PrefillCost {
 public:
  // Of a pass of fewer most is the same for one row as for all.
  static constexpr int64_t kFewestRows = 8;
  void took_shared(int64_t n_rows, double seconds);
  void took_streamed(int64_t n_rows, double seconds, double link_seconds);

  // For a prompt of so many rows, when the link needs so long for all experts that are not there. Streaming is, where it is as fast.
  bool is_streaming_faster(int64_t n_rows, double link_seconds) const;

  double shared_row_seconds() const { return shared_row_seconds_; }      // 0: not measured
  double streamed_row_seconds() const { return streamed_row_seconds_; }  // besides the link's
 private:
  double shared_row_seconds_ = 0, streamed_row_seconds_ = 0;
};

}  // namespace sluice::engine
