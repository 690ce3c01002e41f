// The one place that decides whether an operation is worth waking other threads for.
#pragma once

#include <cstdint>

#include "kernels/cpu/thread_pool.h"

namespace sluice::kernels {

// Memory traffic below which an operation stays on the calling thread: one or two microseconds of it, about what handing
// it out costs.
inline constexpr int64_t kWorthSharingBytes = 128 * 1024;

// Calls task(i) for every i in [0, n_tasks), on all threads when the bytes read and written by all tasks together (or
// work of as much time) are worth it.
template <typename Task>
void share_work(ThreadPool& pool, int64_t n_tasks, int64_t total_bytes, const Task& task) {
  if (n_tasks > 1 && total_bytes >= kWorthSharingBytes)
    pool.run(n_tasks, task);
  else
    for (int64_t i = 0; i < n_tasks; ++i) task(i);
}

}  // namespace sluice::kernels
