// The threads: everything runs once, whoever runs it; failures come out; sleepers wake; shares of nodes.

#include <doctest/doctest.h>

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "kernels/cpu/first_touch.h"
#include "kernels/cpu/thread_pool.h"

using namespace sluice;
using kernels::Core;
using kernels::ThreadPool;

namespace {

// Cores of two nodes, all bound to a CPU that is there, so that the shares are tested on any machine.
std::vector<Core> two_nodes() {
  const int cpu = kernels::usable_cores().cores[0].cpu;
  return {{cpu, 0}, {cpu, 1}, {cpu, 0}};
}

}  // namespace

TEST_CASE("a pool of any size runs every task once, many times in a row") {
  for (const bool bound : {false, true})
    for (const uint32_t n_threads : {1u, 2u, 3u, 8u}) {
      ThreadPool pool(n_threads, bound ? two_nodes() : std::vector<Core>());
      CHECK(pool.n_threads() == n_threads);
      for (const int64_t n_tasks : {0, 1, 2, 7, 1000}) {
        for (int round = 0; round < 50; ++round) {
          std::vector<std::atomic<int>> runs(static_cast<size_t>(n_tasks));
          pool.run(n_tasks, [&](int64_t i) { runs[static_cast<size_t>(i)].fetch_add(1); });
          REQUIRE(std::ranges::all_of(runs, [](const auto& r) { return r.load() == 1; }));
        }
      }
    }
}

TEST_CASE("results of one run are seen by the next, without a lock") {
  ThreadPool pool(4);
  std::vector<int> values(300, 0);
  for (int round = 1; round <= 500; ++round) {
    // Every task reads what other threads wrote in the run before.
    std::vector<int> next(values.size());
    pool.run(static_cast<int64_t>(values.size()), [&](int64_t i) {
      const auto at = static_cast<size_t>(i);
      next[at] = values[(at + 7) % values.size()] + 1;
    });
    values.swap(next);
    REQUIRE(std::ranges::all_of(values, [&](int v) { return v == round; }));
  }
}

TEST_CASE("ranges make up the whole, are no smaller than asked, and become smaller towards the end") {
  for (const bool bound : {false, true})
    for (const uint32_t n_threads : {1u, 2u, 5u}) {
      ThreadPool pool(n_threads, bound ? two_nodes() : std::vector<Core>());
      for (const int64_t n_items : {1, 5, 64, 1000, 100000})
        for (const int64_t least : {1, 16, 2000}) {
          std::mutex mutex;
          std::vector<std::pair<int64_t, int64_t>> ranges;
          pool.run_ranges(n_items, least, [&](int64_t begin, int64_t end) {
            const std::lock_guard lock(mutex);
            ranges.emplace_back(begin, end);
          });
          std::ranges::sort(ranges);
          int64_t at = 0, n_small = 0, largest = 0;
          for (const auto& [begin, end] : ranges) {
            REQUIRE(begin == at);
            REQUIRE(end > begin);
            at = end;
            if (end - begin < least) ++n_small;
            largest = std::max(largest, end - begin);
          }
          CHECK(at == n_items);
          CHECK(n_small <= (bound ? 2 : 1));  // what is left at the end of each share
          // No piece is so large that others would wait for it.
          if (n_threads > 1) CHECK(largest <= std::max(least, n_items / (2 * n_threads)));
        }
    }
}

TEST_CASE("more items than 31 bits hold are all handed out") {
  ThreadPool pool(2);
  std::atomic<int64_t> n{0}, last{0};
  const int64_t n_items = (int64_t{1} << 32) + 12345;
  pool.run_ranges(n_items, int64_t{1} << 28, [&](int64_t begin, int64_t end) {
    n.fetch_add(end - begin);
    if (end == n_items) last.store(end);
  });
  CHECK(n.load() == n_items);
  CHECK(last.load() == n_items);
}

TEST_CASE("what a task throws comes out of run, and the pool goes on working") {
  for (const bool bound : {false, true})
    for (const uint32_t n_threads : {1u, 4u}) {
      ThreadPool pool(n_threads, bound ? two_nodes() : std::vector<Core>());
      for (int round = 0; round < 100; ++round) {
        CHECK_THROWS_WITH_AS(pool.run(100,
                                      [](int64_t i) {
                                        if (i % 10 == 3) throw std::runtime_error("a task failed");
                                      }),
                             "a task failed", std::runtime_error);
        std::atomic<int> done{0};
        pool.run(50, [&](int64_t) { done.fetch_add(1); });
        REQUIRE(done.load() == 50);
      }
    }
}

TEST_CASE("after a failure tasks that have not begun are left out") {
  ThreadPool pool(2);
  std::atomic<int> begun{0};
  CHECK_THROWS_AS(pool.run(1000000,
                           [&](int64_t) {
                             begun.fetch_add(1);
                             throw std::runtime_error("first");
                           }),
                  std::runtime_error);
  CHECK(begun.load() <= 2);
}

TEST_CASE("a pool that has gone to sleep wakes up") {
  ThreadPool pool(6);
  std::mutex mutex;
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // far longer than workers spin
    std::set<std::thread::id> threads;
    pool.run(6, [&](int64_t) {
      // Six tasks that wait for each other need six threads.
      const auto begin = std::chrono::steady_clock::now();
      for (bool all = false; !all && std::chrono::steady_clock::now() - begin < std::chrono::seconds(20);) {
        const std::lock_guard lock(mutex);
        threads.insert(std::this_thread::get_id());
        all = threads.size() == 6;
      }
    });
    REQUIRE(threads.size() == 6);
  }
}

TEST_CASE("a caller that waits long for the last task sleeps and is woken") {
  ThreadPool pool(2);
  const std::thread::id caller = std::this_thread::get_id();
  for (int round = 0; round < 5; ++round) {
    std::atomic<bool> worker_has_one{false}, done{false};
    pool.run(2, [&](int64_t) {
      if (std::this_thread::get_id() == caller) {
        while (!worker_has_one.load()) std::this_thread::yield();
        return;
      }
      worker_has_one.store(true);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      done.store(true);
    });
    REQUIRE(done.load());
  }
}

TEST_CASE("workers that are bound stay on their core, and the caller is left alone") {
  const std::vector<Core> cores = kernels::usable_cores().cores;
  cpu_set_t before, after;
  REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
  ThreadPool pool(3, cores);
  const std::thread::id caller = std::this_thread::get_id();
  std::mutex mutex;
  std::set<std::thread::id> threads;
  std::set<int> bound_to;
  pool.run(3, [&](int64_t) {
    for (bool all = false; !all;) {
      const std::lock_guard lock(mutex);
      threads.insert(std::this_thread::get_id());
      all = threads.size() == 3;
    }
    if (std::this_thread::get_id() == caller) return;
    cpu_set_t mask;
    if (sched_getaffinity(0, sizeof mask, &mask) != 0 || CPU_COUNT(&mask) != 1) return;
    const std::lock_guard lock(mutex);
    for (const Core& core : cores)
      if (CPU_ISSET(static_cast<size_t>(core.cpu), &mask)) bound_to.insert(core.cpu);
  });
  std::set<int> expected;
  for (const size_t i : {size_t{1}, size_t{2}}) expected.insert(cores[i % cores.size()].cpu);
  CHECK(bound_to == expected);
  REQUIRE(sched_getaffinity(0, sizeof after, &after) == 0);
  CHECK(CPU_EQUAL(&before, &after));
}

TEST_CASE("a thread takes from the share of its own node first") {
  ThreadPool pool(2, two_nodes());
  const std::thread::id caller = std::this_thread::get_id();
  for (int round = 0; round < 20; ++round) {
    std::mutex mutex;
    int64_t first_of_caller = -1, first_of_worker = -1;
    pool.run(100, [&](int64_t i) {
      for (bool both = false; !both;) {  // nobody goes on before the other has begun
        const std::lock_guard lock(mutex);
        int64_t& first = std::this_thread::get_id() == caller ? first_of_caller : first_of_worker;
        if (first < 0) first = i;
        both = first_of_caller >= 0 && first_of_worker >= 0;
      }
    });
    CHECK(first_of_caller == 0);
    CHECK(first_of_worker == 50);
  }
}

TEST_CASE("touching reads inside of the matrices only, whatever their size") {
  for (const bool bound : {false, true}) {
    ThreadPool pool(2, bound ? two_nodes() : std::vector<Core>());
    for (const uint64_t bytes : {uint64_t{0}, uint64_t{1}, uint64_t{4096}, uint64_t{4097}, uint64_t{3} << 20}) {
      const std::vector<std::byte> exact(3 * bytes);  // the address sanitizer watches its end
      kernels::touch_pages(pool, exact.data(), 3, bytes);
    }
  }
}
