// The threads that all CPU work runs on.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "kernels/cpu/cores.h"

namespace sluice::kernels {

// A fixed team: the calling thread and n_threads - 1 workers.
//
// Items of a run are handed out as threads ask for them, so a thread that the system takes away delays at most the
// piece that it holds. A run is over when its items are: a worker that comes late, or that the system has taken away
// between two pieces, is not waited for. Who waits spins for a short while, because the next run of a forward pass is
// microseconds away, and then sleeps: an engine that spins for ever starves its neighbours, and itself beside them.
//
// Where workers are bound to cores of several NUMA nodes, the items of a run are divided between the nodes in
// contiguous shares, in proportion to their threads; a thread takes from its own node's share first and then helps
// others. So the same rows of a matrix are read by the same node each time, and pages belong where touch_pages()
// (kernels/cpu/first_touch.h) has put them.
class ThreadPool {
 public:
  // 0 threads: as many as usable_cores().default_threads(). Worker i is bound to bind_to[i % size], where any are
  // given; the calling thread is not ours to bind and finds bind_to[0] free. Throws std::system_error when the system
  // has no more threads.
  explicit ThreadPool(uint32_t n_threads, std::span<const Core> bind_to = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  uint32_t n_threads() const { return static_cast<uint32_t>(workers_.size()) + 1; }

  // Calls task(i) once for every i in [0, n_tasks), on any thread, and returns when all are done. Which thread runs a
  // task must not change its result. When a task throws, tasks that have not begun are left out and run() throws what
  // the first one threw. Tasks must not call run(). One run at a time.
  template <typename Task>
  void run(int64_t n_tasks, const Task& task) {
    run_erased(n_tasks, 1, false, &task, [](const void* erased, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) (*static_cast<const Task*>(erased))(i);
    });
  }

  // Calls task(begin, end) for ranges that make up [0, n_items), under the same rules. Ranges are large at first and
  // become smaller towards the end, down to least_items, so that handing out costs little and all threads end together.
  template <typename Task>
  void run_ranges(int64_t n_items, int64_t least_items, const Task& task) {
    run_erased(n_items, least_items, true, &task,
               [](const void* erased, int64_t begin, int64_t end) { (*static_cast<const Task*>(erased))(begin, end); });
  }

 private:
  using Call = void (*)(const void* task, int64_t begin, int64_t end);

  // The items of a run that one NUMA node takes first. `left` holds the number of the run in its upper half and in its
  // lower half how many items nobody has taken. Who takes some by compare-and-swap has therefore taken them from the
  // run that it looked at, and that run does not end, nor its description change, before they are done.
  struct alignas(64) Share {
    std::atomic<uint64_t> left{0};
    int64_t end = 0;  // the item after the share's last
  };

  void run_erased(int64_t n_items, int64_t least_items, bool shrinking, const void* task, Call call);
  void run_once(int64_t first_item, uint32_t n_items);
  void worker_loop(uint32_t thread);
  void stop_workers() noexcept;
  void take_items(size_t own_share) noexcept;
  uint32_t take_from(Share& share) noexcept;
  void abandon_the_rest() noexcept;
  void finish(uint32_t n_items) noexcept;

  // The work of the current run; written while no items are left to take.
  const void* task_ = nullptr;
  Call call_ = nullptr;
  int64_t first_item_ = 0;
  std::atomic<uint32_t> least_items_{1};  // of a piece; read before anything is taken
  std::atomic<bool> shrinking_{false};    // pieces, from large to small
  std::exception_ptr failure_;            // of the first task that threw; written by whoever sets failed_
  std::atomic<bool> failed_{false};

  std::vector<Share> shares_;
  std::vector<size_t> share_of_thread_;
  std::vector<double> share_ends_;  // cumulated, the last is 1

  alignas(64) std::atomic<uint32_t> run_number_{0};  // a change starts the workers
  std::atomic<uint32_t> n_sleeping_{0};              // workers that sleep, or are about to
  std::atomic<bool> stopping_{false};
  alignas(64) std::atomic<uint32_t> n_unfinished_{0};  // items of the current run
  std::atomic<bool> caller_sleeps_{false};
  std::vector<std::thread> workers_;
};

}  // namespace sluice::kernels
