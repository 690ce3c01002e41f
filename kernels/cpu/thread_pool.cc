#include "kernels/cpu/thread_pool.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sluice::kernels {
namespace {

// How long a waiting thread spins before it sleeps: longer than the gap between two operations of a forward pass,
// shorter than anybody notices, and little beside the milliseconds for which a scheduler takes a thread away.
constexpr std::chrono::microseconds kSpin{50};

// Sleepers that a thread wakes at once. Each that wakes for a new run wakes as many again, so that nobody has to make a
// system call for every core of a large machine.
constexpr int kWakeAtOnce = 2;

constexpr uint64_t kItemsMask = 0xFFFFFFFF;

// std::atomic::wait() yields before it sleeps. Beside a busy neighbour that gives up a whole time slice, and a thread
// that yielded is runnable, so that waking it does not bring it back before its turn.
void sleep_while_equal(const std::atomic<uint32_t>& value, uint32_t seen) {
  static_assert(sizeof value == sizeof(uint32_t));
  syscall(SYS_futex, &value, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
}

void wake_sleepers(const std::atomic<uint32_t>& value, int n_sleepers) {
  syscall(SYS_futex, &value, FUTEX_WAKE_PRIVATE, n_sleepers, nullptr, nullptr, 0);
}

void pause_briefly() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Returns whether it became true while spinning.
template <typename Condition>
bool spin_until(const Condition& condition) {
  using Clock = std::chrono::steady_clock;
  Clock::time_point end{};
  for (;;) {
    for (int i = 0; i < 16; ++i) {
      if (condition()) return true;
      pause_briefly();
    }
    const Clock::time_point now = Clock::now();
    if (end == Clock::time_point{})
      end = now + kSpin;
    else if (now >= end)
      return false;
  }
}

// Best effort: a core may have been taken from the process since it was found.
void bind_this_thread(int cpu) {
  const size_t bytes = CPU_ALLOC_SIZE(cpu + 1);
  std::vector<cpu_set_t> mask((bytes + sizeof(cpu_set_t) - 1) / sizeof(cpu_set_t));
  CPU_SET_S(cpu, bytes, mask.data());
  sched_setaffinity(0, bytes, mask.data());
}

}  // namespace

ThreadPool::ThreadPool(uint32_t n_threads, std::span<const Core> bind_to) {
  if (n_threads == 0) n_threads = usable_cores().default_threads();
  std::map<int, uint32_t> threads_of_node;
  const auto node_of = [&](uint32_t thread) { return bind_to.empty() ? 0 : bind_to[thread % bind_to.size()].node; };
  for (uint32_t i = 0; i < n_threads; ++i) ++threads_of_node[node_of(i)];
  for (uint32_t i = 0; i < n_threads; ++i)
    share_of_thread_.push_back(
        static_cast<size_t>(std::distance(threads_of_node.begin(), threads_of_node.find(node_of(i)))));
  shares_ = std::vector<Share>(threads_of_node.size());
  uint32_t so_far = 0;
  for (const auto& [node, n] : threads_of_node) share_ends_.push_back(static_cast<double>(so_far += n) / n_threads);

  workers_.reserve(n_threads - 1);
  try {
    for (uint32_t i = 1; i < n_threads; ++i) {
      const int cpu = bind_to.empty() ? -1 : bind_to[i % bind_to.size()].cpu;
      workers_.emplace_back([this, i, cpu] {
        if (cpu >= 0) bind_this_thread(cpu);
        worker_loop(i);
      });
    }
  } catch (...) {
    stop_workers();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  stop_workers();
}

void ThreadPool::stop_workers() noexcept {
  stopping_.store(true, std::memory_order_relaxed);
  run_number_.fetch_add(1);
  wake_sleepers(run_number_, std::numeric_limits<int>::max());
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run_erased(int64_t n_items, int64_t least_items, bool shrinking, const void* task, Call call) {
  if (n_items <= 0) return;
  if (workers_.empty() || n_items <= least_items) {
    call(task, 0, n_items);
    return;
  }
  constexpr int64_t kMostItems = std::numeric_limits<int32_t>::max();
  task_ = task;
  call_ = call;
  least_items_.store(static_cast<uint32_t>(std::clamp<int64_t>(least_items, 1, kMostItems)), std::memory_order_relaxed);
  shrinking_.store(shrinking, std::memory_order_relaxed);
  for (int64_t first = 0; first < n_items; first += kMostItems)
    run_once(first, static_cast<uint32_t>(std::min(kMostItems, n_items - first)));
}

void ThreadPool::run_once(int64_t first_item, uint32_t n_items) {
  first_item_ = first_item;
  failed_.store(false, std::memory_order_relaxed);
  n_unfinished_.store(n_items, std::memory_order_relaxed);
  const uint32_t run_number = run_number_.load(std::memory_order_relaxed) + 1;
  int64_t begin = 0;
  for (size_t i = 0; i < shares_.size(); ++i) {
    const int64_t end = i + 1 == shares_.size() ? n_items : static_cast<int64_t>(share_ends_[i] * n_items);
    shares_[i].end = end;
    shares_[i].left.store(uint64_t{run_number} << 32 | static_cast<uint64_t>(end - begin), std::memory_order_release);
    begin = end;
  }
  // Sequentially consistent, as is the order in worker_loop(): either the worker sees the new number, or we see that it
  // sleeps.
  run_number_.store(run_number);
  if (n_sleeping_.load() > 0) wake_sleepers(run_number_, kWakeAtOnce);

  take_items(share_of_thread_[0]);
  const auto finished = [this] { return n_unfinished_.load(std::memory_order_acquire) == 0; };
  if (!spin_until(finished)) {
    caller_sleeps_.store(true);
    for (uint32_t n; (n = n_unfinished_.load()) != 0;) sleep_while_equal(n_unfinished_, n);
    caller_sleeps_.store(false, std::memory_order_relaxed);
  }
  if (failed_.load(std::memory_order_relaxed)) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void ThreadPool::take_items(size_t own_share) noexcept {
  uint32_t n_done = 0;
  for (size_t i = 0; i < shares_.size(); ++i) {
    Share& share = shares_[(own_share + i) % shares_.size()];
    while (const uint32_t n = take_from(share)) n_done += n;
  }
  if (n_done > 0) finish(n_done);
}

// Takes and runs one piece; returns how many items it had.
uint32_t ThreadPool::take_from(Share& share) noexcept {
  uint64_t seen = share.left.load(std::memory_order_relaxed);
  uint32_t n_left = 0, n = 0;
  do {
    n_left = static_cast<uint32_t>(seen & kItemsMask);
    if (n_left == 0) return 0;
    n = least_items_.load(std::memory_order_relaxed);
    if (shrinking_.load(std::memory_order_relaxed)) n = std::max(n, n_left / (2 * n_threads()));
    n = std::min(n, n_left);
  } while (!share.left.compare_exchange_weak(seen, seen - n, std::memory_order_acquire, std::memory_order_relaxed));
  const int64_t begin = first_item_ + share.end - n_left;
  try {
    call_(task_, begin, begin + n);
  } catch (...) {
    if (!failed_.exchange(true, std::memory_order_relaxed)) failure_ = std::current_exception();
    abandon_the_rest();
  }
  return n;
}

void ThreadPool::abandon_the_rest() noexcept {
  for (Share& share : shares_)
    if (const uint64_t left = share.left.fetch_and(~kItemsMask, std::memory_order_acquire) & kItemsMask; left > 0)
      finish(static_cast<uint32_t>(left));
}

void ThreadPool::finish(uint32_t n_items) noexcept {
  if (n_unfinished_.fetch_sub(n_items) == n_items && caller_sleeps_.load()) wake_sleepers(n_unfinished_, 1);
}

void ThreadPool::worker_loop(uint32_t thread) {
  uint32_t seen = 0;
  for (;;) {
    const auto has_changed = [&] { return run_number_.load(std::memory_order_acquire) != seen; };
    if (!spin_until(has_changed)) {
      n_sleeping_.fetch_add(1);
      while (run_number_.load() == seen) sleep_while_equal(run_number_, seen);
      if (n_sleeping_.fetch_sub(1) > 1) wake_sleepers(run_number_, kWakeAtOnce);
    }
    seen = run_number_.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_relaxed)) return;
    take_items(share_of_thread_[thread]);
  }
}

}  // namespace sluice::kernels
