// The places of a stream's passes in which the GPU leaves work to the host: a meeting (meeting.h) for each layer that has one.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "engine/device/cuda/meeting.h"
#include "engine/device/cuda/pass.h"
#include "engine/device/device.h"

namespace sluice::engine::cuda {

class HostShares {
 public:
  // Both must outlive what the pass has in flight.
  explicit HostShares(Pass& pass);
  HostShares(const HostShares&) = delete;
  HostShares& operator=(const HostShares&) = delete;

  // `call` without shape, `to` and number. n_used: experts a row; 0: the rows alone are handed over. The result is the call with all that
  // it needs, for who appends it, or what does the same, next.
  kernels::cuda::PublishCall begin(uint32_t layer, int64_t n_used, kernels::cuda::PublishCall call, HostWork work);
  void finish(uint32_t layer, const Rows& out, bool replaces);
  DeviceTimes times() const;
  // What was begun is not finished: the launches of the pass were dropped.
  void drop() noexcept {
    open_.clear();
    finished_.clear();
  }

 private:
  struct Open {
    uint32_t layer;
    size_t meeting;
    const uint32_t* number;  // device memory
  };
  void do_work(size_t meeting, uint32_t number, int64_t n_rows, const HostWork& work);

  Pass& pass_;
  std::vector<Meeting> meetings_;
  std::map<std::tuple<uint32_t, int64_t, int64_t>, size_t>
      meeting_of_;  // of a layer, rows it has room for, and experts a row
  WaitBy way_ = WaitBy::HostFunction;
  uint32_t last_number_ = 0;
  std::vector<Open> open_;
  std::vector<size_t> finished_;  // meetings of what was started and is not yet waited for
  DeviceTimes times_;             // but for those of passes
};

}  // namespace sluice::engine::cuda
