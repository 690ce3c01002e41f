// The threads that all CPU work runs on.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <thread>
#include <vector>

namespace sluice::kernels {

// A fixed team: the calling thread and n_threads - 1 workers. Tasks of one run() are handed out one by one, so a thread
// that the system takes away delays at most one task. Between runs workers spin for a short while, because the next run
// of a forward pass is microseconds away, and then sleep: an engine that spins for ever starves its neighbours.
class ThreadPool {
 public:
  // 0 threads: as many as usable_cores().
  explicit ThreadPool(uint32_t n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  uint32_t n_threads() const { return static_cast<uint32_t>(workers_.size()) + 1; }

  // Calls task(i) once for every i in [0, n_tasks), on any thread, and returns when all are done. Which thread runs a
  // task must not change its result. When a task throws, tasks that have not begun are left out and run() throws what
  // the first one threw. Tasks must not call run(). One run at a time.
  template <typename Task>
  void run(int64_t n_tasks, const Task& task) {
    run_erased(n_tasks, &task, [](const void* erased, int64_t i) { (*static_cast<const Task*>(erased))(i); });
  }

 private:
  using Call = void (*)(const void* task, int64_t index);
  void run_erased(int64_t n_tasks, const void* task, Call call);
  void worker_loop();
  void take_tasks() noexcept;

  // The work of the current run; written by run_erased() while no worker is inside, then published by generation_.
  const void* task_ = nullptr;
  Call call_ = nullptr;
  int64_t n_tasks_ = 0;
  std::atomic<int64_t> next_task_{0};
  std::exception_ptr failure_;  // of the first task that threw; written by whoever sets failed_
  std::atomic<bool> failed_{false};

  std::atomic<uint32_t> generation_{0};      // odd or even does not matter: a change starts the workers
  std::atomic<uint32_t> n_workers_busy_{0};  // workers that have not finished the current generation
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

// The cores this process may use: its affinity mask, less where a cgroup quota allows fewer. At least 1.
uint32_t usable_cores();

}  // namespace sluice::kernels
