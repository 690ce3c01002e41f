// The work of a stream between two waits: launches that were asked for and not yet started, the cells that they read, and the copies
// to the host that a wait completes.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/device/cuda/cells.h"
#include "engine/device/cuda/graphs.h"
#include "engine/device/cuda/runtime.h"
#include "engine/device/cuda/upload.h"
#include "kernels/cuda/launch.h"

namespace sluice::engine::cuda {

class Pass {
 public:
  // pinned: memory of the host that is copied to and from without staging; null: none.
  explicit Pass(bool graphs, const std::shared_ptr<VramAccount>& account = {},
                std::shared_ptr<const PinnedRanges> pinned = nullptr);
  // Waits, and drops what was not started.
  ~Pass();

  // Where operations append theirs.
  kernels::cuda::Launches& launches() { return launches_; }
  // Values for the launches appended next; `tables` are those that seldom change. Starts and waits for what is there when
  // it must make room.
  template <class T>
  const T* cells(std::span<const T> values) {
    return room(values_, values.size_bytes()).place(values);
  }
  template <class T>
  const T* tables(std::span<const T> values) {
    return room(tables_, values.size_bytes()).place(values);
  }

  // What the host does beside the launches so far and those that follow: called in order once they are started.
  void add_host_work(std::function<void()> work) { host_work_.push_back(std::move(work)); }
  struct Hooks {
    // Work was started, and the host cannot do its part: must let go of all launches that wait for it.
    std::function<void()> give_up;
    // All is done: throws where it was not done rightly.
    std::function<void()> check;
  };
  void set_hooks(Hooks hooks) { hooks_ = std::move(hooks); }

  // Starts all launches so far, and does the host's work. Throws what it throws.
  void submit();
  // Starts them, then copies. `host` has the bytes after the next wait().
  void copy_to_host(void* host, const void* from, uint64_t bytes);
  // Copies host memory of any kind before the launches that are appended from now on; it may change when this returns, and where it is
  // pinned when the copy was waited for.
  void copy_to_device(void* to, const void* host, uint64_t bytes);
  void copy(void* to, const void* from, uint64_t bytes);
  // Until all is done. Throws Error(BadFile) when a kernel met a value that is not finite.
  void wait();

  // What is started here from now on begins after what the other has started.
  void follow(const Pass& other);
  // From now on what is started begins after the event.
  void follow(cudaEvent_t event);

  // Are lists of launches expected to come again? Then those that do become graphs.
  void expect_repeats(bool expects) { expects_repeats_ = expects; }

  // Is nothing asked for yet, since the last wait?
  bool is_at_its_beginning() const { return launches_.empty() && !started_; }

  // Forgets the launches that were not started, and whom results were for: when a pass ends by an exception, the memory of both may be
  // gone. What fails here drops them itself.
  void drop() noexcept;

  // From starts to the ends of waits for what was started.
  double busy_seconds() const { return busy_seconds_; }

  cudaStream_t stream() const { return stream_.get(); }
  int32_t* not_finite() const { return reinterpret_cast<int32_t*>(flag_.device()); }

 private:
  struct HostCopy {
    void* to;
    const std::byte* from;
    uint64_t bytes;
  };
  Cells& room(Cells& cells, uint64_t bytes);
  template <class Work>
  void do_or_drop(Work work);

  StreamHandle stream_;
  kernels::cuda::Launches launches_;
  Cells values_, tables_;
  Graphs graphs_;
  bool expects_repeats_ = true;
  std::shared_ptr<const PinnedRanges> pinned_;
  Upload upload_;
  Memory flag_;     // one word for kernels to set, in pinned memory: read without a copy
  Memory staging_;  // what goes to the host
  uint64_t staged_ = 0;
  std::vector<HostCopy> host_copies_;
  std::vector<std::function<void()>> host_work_;
  Hooks hooks_;
  std::optional<std::chrono::steady_clock::time_point> started_;  // and not yet waited for
  double busy_seconds_ = 0;
};

}  // namespace sluice::engine::cuda
