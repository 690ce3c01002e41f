// What a run of the thread pool costs: the time of one whose tasks do nothing, of waking workers that sleep, and how
// much of the time an uneven run's threads work.
//
//   thread_pool_bench [THREADS]
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "kernels/cpu/thread_pool.h"

namespace sluice {
namespace {

using Clock = std::chrono::steady_clock;

double microseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

void spin_for(double microseconds) {
  for (const Clock::time_point begin = Clock::now(); microseconds_since(begin) < microseconds;) {
  }
}

// A run of empty tasks, the workers spinning: medians over batches, so that a neighbour's time slice does not count.
double empty_run(kernels::ThreadPool& pool, int64_t n_tasks) {
  std::vector<double> batches;
  for (int batch = 0; batch < 401; ++batch) {
    const Clock::time_point begin = Clock::now();
    for (int i = 0; i < 50; ++i) pool.run(n_tasks, [](int64_t) {});
    batches.push_back(microseconds_since(begin) / 50);
  }
  return median(batches);
}

// A run in which every task waits until all have begun, so that all threads must come.
double meeting_run(kernels::ThreadPool& pool) {
  std::vector<double> batches;
  for (int batch = 0; batch < 401; ++batch) {
    const Clock::time_point begin = Clock::now();
    for (int i = 0; i < 50; ++i) {
      std::atomic<uint32_t> n_begun{0};
      pool.run(pool.n_threads(), [&](int64_t) {
        n_begun.fetch_add(1);
        while (n_begun.load() < pool.n_threads()) {
        }
      });
    }
    batches.push_back(microseconds_since(begin) / 50);
  }
  return median(batches);
}

// From the call of run() to the first task on another thread.
double wake(kernels::ThreadPool& pool, double idle_microseconds) {
  std::vector<double> delays;
  const std::thread::id caller = std::this_thread::get_id();
  for (int round = 0; round < 301; ++round) {
    std::this_thread::sleep_for(std::chrono::duration<double, std::micro>(idle_microseconds));
    std::atomic<bool> come{false};
    double delay = 0;
    const Clock::time_point begin = Clock::now();
    pool.run(2, [&](int64_t) {
      if (std::this_thread::get_id() == caller) {
        while (!come.load()) {
        }
      } else if (!come.load()) {
        delay = microseconds_since(begin);
        come.store(true);
      }
    });
    delays.push_back(delay);
  }
  return median(delays);
}

// The part of all threads' time in which they work, for 300 us of work in 5 us steps a thread.
template <typename Run>
double efficiency(const kernels::ThreadPool& pool, const Run& run) {
  const int64_t n_steps = 60 * int64_t{pool.n_threads()};
  std::vector<double> seconds;
  for (int round = 0; round < 301; ++round) {
    const Clock::time_point begin = Clock::now();
    run(n_steps);
    seconds.push_back(microseconds_since(begin));
  }
  return 60 * 5.0 / median(seconds);
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  using namespace sluice;
  kernels::ThreadPool pool(argc > 1 ? static_cast<uint32_t>(std::atoi(argv[1])) : 0);
  if (pool.n_threads() < 2) {
    std::fprintf(stderr, "error: one thread runs everything itself; give at least 2\n");
    return 2;
  }
  std::printf("%u threads, medians\n\n| | |\n|---|---:|\n", pool.n_threads());
  std::printf("| empty run, a task a thread | %.2f us |\n", empty_run(pool, pool.n_threads()));
  std::printf("| empty run, 64 tasks | %.2f us |\n", empty_run(pool, 64));
  std::printf("| run in which all threads meet | %.2f us |\n", meeting_run(pool));
  std::printf("| first task of a worker that sleeps | %.1f us |\n", wake(pool, 500));
  const auto one_by_one = [&](int64_t n) { pool.run(n, [](int64_t) { spin_for(5); }); };
  const auto ranges = [&](int64_t n) {
    pool.run_ranges(n, 1, [](int64_t begin, int64_t end) { spin_for(5.0 * static_cast<double>(end - begin)); });
  };
  std::printf("| efficiency, 60 tasks of 5 us a thread | %.1f%% |\n", 100 * efficiency(pool, one_by_one));
  std::printf("| the same as shrinking ranges | %.1f%% |\n", 100 * efficiency(pool, ranges));
  return 0;
}
