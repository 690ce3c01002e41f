#include "kernels/cpu/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sluice::kernels {

// Polls before a waiting thread sleeps. A poll is about 40 ns with the pause in it, so a worker spins for some 50 us:
// longer than the gap between two operations of a forward pass, shorter than anybody notices.
static constexpr int kSpins = 1200;

static void pause_briefly() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

ThreadPool::ThreadPool(uint32_t n_threads) {
  if (n_threads == 0) n_threads = usable_cores();
  workers_.reserve(n_threads - 1);
  for (uint32_t i = 1; i < n_threads; ++i) workers_.emplace_back([this] { worker_loop(); });
}

ThreadPool::~ThreadPool() {
  stopping_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run_erased(int64_t n_tasks, const void* task, Call call) {
  if (n_tasks <= 0) return;
  if (workers_.empty() || n_tasks == 1) {
    for (int64_t i = 0; i < n_tasks; ++i) call(task, i);
    return;
  }
  task_ = task;
  call_ = call;
  n_tasks_ = n_tasks;
  next_task_.store(0, std::memory_order_relaxed);
  failed_.store(false, std::memory_order_relaxed);
  n_workers_busy_.store(static_cast<uint32_t>(workers_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();

  take_tasks();
  for (int spin = 0;; ++spin) {
    const uint32_t busy = n_workers_busy_.load(std::memory_order_acquire);
    if (busy == 0) break;
    if (spin < kSpins)
      pause_briefly();
    else
      n_workers_busy_.wait(busy, std::memory_order_acquire);
  }
  if (failed_.load(std::memory_order_relaxed)) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void ThreadPool::take_tasks() noexcept {
  for (;;) {
    const int64_t i = next_task_.fetch_add(1, std::memory_order_relaxed);
    if (i >= n_tasks_) return;
    try {
      call_(task_, i);
    } catch (...) {
      if (!failed_.exchange(true, std::memory_order_relaxed)) failure_ = std::current_exception();
      next_task_.store(n_tasks_, std::memory_order_relaxed);
    }
  }
}

void ThreadPool::worker_loop() {
  uint32_t seen = 0;
  for (;;) {
    for (int spin = 0; generation_.load(std::memory_order_acquire) == seen; ++spin) {
      if (spin < kSpins)
        pause_briefly();
      else
        generation_.wait(seen, std::memory_order_acquire);
    }
    // One generation at a time: run_erased() does not start the next before every worker has finished this one.
    ++seen;
    if (stopping_.load(std::memory_order_relaxed)) return;
    take_tasks();
    if (n_workers_busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) n_workers_busy_.notify_one();
  }
}

// CPU time that the cgroup allows, in cores, or 0 when it sets no limit. Version 2 has "QUOTA PERIOD" (or "max PERIOD")
// in one file, version 1 has two files with -1 for no limit.
static double cgroup_quota_cores() {
  std::string quota_text;
  double period = 0;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2 >> quota_text >> period) {
    if (quota_text == "max" || period <= 0) return 0;
    return std::strtod(quota_text.c_str(), nullptr) / period;
  }
  double quota = 0;
  std::ifstream v1_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream v1_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (v1_quota >> quota && v1_period >> period && quota > 0 && period > 0) return quota / period;
  return 0;
}

uint32_t usable_cores() {
  uint32_t cores = std::max(1u, std::thread::hardware_concurrency());
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) cores = static_cast<uint32_t>(std::max(1, CPU_COUNT(&mask)));
  if (const double quota = cgroup_quota_cores(); quota > 0)
    cores = std::min(cores, static_cast<uint32_t>(std::max(1.0, std::ceil(quota))));
  return cores;
}

}  // namespace sluice::kernels
