#include "tests/simt/runtime/block.h"

#include <bit>

#include "tests/simt/runtime/ordering.h"

namespace sluice::simt {

Block block;
const ThreadIndex* current_thread = nullptr;
Running running;

Thread* this_thread() {
  return const_cast<Thread*>(static_cast<const Thread*>(current_thread));
}

uint32_t next_random() {
  block.random ^= block.random << 13;
  block.random ^= block.random >> 7;
  block.random ^= block.random << 17;
  return uint32_t(block.random >> 32);
}

namespace {

uint32_t nth_bit(uint32_t mask, uint32_t n) {
  while (n-- > 0) mask &= mask - 1;
  return uint32_t(std::countr_zero(mask));
}

void take(Warp& warp, uint32_t lane) {
  warp.ready &= ~(1u << lane);
  if (warp.ready == 0) block.ready_warps &= ~(1u << warp.index);
}

// The thread to run next, no longer marked as ready; null when all wait. A warp goes on as long as it can.
Thread* pick() {
  if (block.ready_warps == 0) return nullptr;
  const GridOptions::Order order = grid_options().order;
  if (order == GridOptions::Order::Random) {
    Warp& warp = block.warps[nth_bit(block.ready_warps, next_random() % uint32_t(std::popcount(block.ready_warps)))];
    const uint32_t lane = nth_bit(warp.ready, next_random() % uint32_t(std::popcount(warp.ready)));
    take(warp, lane);
    return &warp.threads[lane];
  }
  const bool forward = order == GridOptions::Order::Forward;
  if (!(block.ready_warps >> block.current_warp & 1)) {
    block.current_warp =
        uint32_t(forward ? std::countr_zero(block.ready_warps) : 31 - std::countl_zero(block.ready_warps));
  }
  Warp& warp = block.warps[block.current_warp];
  const uint32_t lane = uint32_t(forward ? std::countr_zero(warp.ready) : 31 - std::countl_zero(warp.ready));
  take(warp, lane);
  return &warp.threads[lane];
}

void fiber_main();

// Leaves the context in *from and goes on with a thread, or with run_block when there is none.
void switch_to(void** from, Thread* next) {
  if (next == nullptr) {
    current_thread = nullptr;
    switch_context(from, block.main_context);
    return;
  }
  if (next->state == ThreadState::New) {
    next->stack = take_stack();
    prepare_stack(next->stack, fiber_main);
  }
  next->state = ThreadState::Ready;
  current_thread = next;
  switch_context(from, next->stack->context);
}

void release_barrier(Barrier& barrier) {
  order_barrier(barrier);
  const BarrierCount result{barrier.n_true, barrier.n_arrived};
  for (uint32_t linear : barrier.arrived) {
    Thread& thread = block.threads[linear];
    if (thread.state != ThreadState::AtBarrier || &block.barriers[thread.barrier] != &barrier)
      continue;  // it only arrived
    thread.barrier_result = result;
    thread.state = ThreadState::Ready;
    make_ready(block.warps[thread.warp], 1u << thread.lane);
  }
  barrier.n_arrived = barrier.n_true = 0;
  barrier.site = kNoSite;
  barrier.arrived.clear();
}

// A thread has ended. Others may have waited for it.
void finish_thread(Thread* thread) {
  thread->state = ThreadState::Done;
  Warp& warp = block.warps[thread->warp];
  warp.exited |= 1u << thread->lane;
  --block.n_live;
  thread->copies.clear();
  if (warp.waiting != 0) lane_exited(warp);
  for (Barrier& barrier : block.barriers) {
    if (barrier.n_arrived == 0 || barrier.count != 0 || barrier.n_arrived < block.n_live) continue;
    find_fault("divergent barrier", barrier.site,
               name_of(*thread) + " has ended while the other threads of the block wait at a barrier");
    release_barrier(barrier);
  }
}

// On its own stack: threads that never wait follow one another on one stack.
void fiber_main() {
  for (;;) {
    block.kernel->thread(block.parameters);
    Thread* thread = this_thread();
    finish_thread(thread);
    Thread* next = pick();
    if (next != nullptr && next->state == ThreadState::New) {
      next->stack = thread->stack;
      thread->stack = nullptr;
      next->state = ThreadState::Ready;
      current_thread = next;
      continue;
    }
    return_stack(thread->stack);
    Stack* stack = thread->stack;
    thread->stack = nullptr;
    switch_to(&stack->context, next);
  }
}

void arrive(Barrier& barrier, uint32_t count, bool predicate, uint32_t site) {
  Thread* thread = this_thread();
  if (barrier.n_arrived == 0) {
    barrier.site = site;
    barrier.count = count;
    barrier.first = thread->linear;
  } else if (barrier.count != count) {
    find_fault("divergent barrier", site,
               name_of(*thread) + " expects " + std::to_string(count) +
                   " threads (0: all) at a barrier where others expect " + std::to_string(barrier.count),
               barrier.site);
  } else if (count == 0 && barrier.site != site) {
    find_fault("divergent barrier", site,
               name_of(*thread) + " waits at another barrier than " + name_of(block.threads[barrier.first]),
               barrier.site);
  }
  ++barrier.n_arrived;
  barrier.n_true += predicate;
  barrier.arrived.push_back(thread->linear);
}

bool is_complete(const Barrier& barrier) {
  if (barrier.count != 0) return barrier.n_arrived >= barrier.count;
  if (barrier.n_arrived < block.n_live) return false;
  if (block.n_live != block.n_threads) {
    find_fault("divergent barrier", barrier.site,
               std::to_string(block.n_threads - block.n_live) + " of " + std::to_string(block.n_threads) +
                   " threads have ended before the barrier");
  }
  return true;
}

Barrier& barrier_of(uint32_t id, uint32_t site) {
  if (id >= 16) {
    find_fault("divergent barrier", site, "there is no barrier " + std::to_string(id) + ", only 0 to 15");
    abort_grid();
  }
  return block.barriers[id];
}

BarrierCount wait_at(uint32_t id, uint32_t count, bool predicate, uint32_t site) {
  Barrier& barrier = barrier_of(id, site);
  Thread* thread = this_thread();
  thread->site = site;
  thread->barrier = uint8_t(id);
  arrive(barrier, count, predicate, site);
  thread->state = ThreadState::AtBarrier;
  if (is_complete(barrier)) {
    release_barrier(barrier);  // makes this thread ready too
    Warp& warp = block.warps[thread->warp];
    take(warp, thread->lane);
    block.current_warp = thread->warp;
    go_on_with(warp, 0);
  } else {
    wait_here();
  }
  return thread->barrier_result;
}

void report_deadlock() {
  std::string who;
  for (uint32_t id = 0; id < 16; ++id) {
    const Barrier& barrier = block.barriers[id];
    if (barrier.n_arrived == 0) continue;
    who += std::to_string(barrier.n_arrived) + " of " +
           std::to_string(barrier.count != 0 ? barrier.count : block.n_threads) + " threads wait at barrier " +
           std::to_string(id) + " (" + place_of(barrier.site) + "); ";
  }
  for (const Warp& warp : block.warps) {
    if (warp.waiting == 0) continue;
    const Thread& thread = warp.threads[std::countr_zero(warp.waiting)];
    char text[160];
    std::snprintf(text, sizeof text, "lanes %08x of warp %u wait for the lanes %08x of the mask (", warp.waiting,
                  warp.index, thread.mask);
    who += text + place_of(thread.site) + "); ";
    if (who.size() > 1500) break;
  }
  const uint32_t site = [] {
    for (const Thread& thread : block.threads) {
      if (thread.state == ThreadState::AtBarrier || thread.state == ThreadState::AtCollective) return thread.site;
    }
    return kNoSite;
  }();
  find_fault(
      "deadlock", site,
      "no thread of the block can go on: " + who + std::to_string(block.n_threads - block.n_live) + " have ended");
}

}  // namespace

void make_ready(Warp& warp, uint32_t lanes) {
  if (lanes == 0) return;
  warp.ready |= lanes;
  block.ready_warps |= 1u << warp.index;
}

void wait_here() {
  Thread* thread = this_thread();
  Thread* next = pick();
  switch_to(&thread->stack->context, next);
}

void go_on_with(Warp& warp, uint32_t others) {
  make_ready(warp, others);
  Thread* thread = this_thread();
  thread->state = ThreadState::Ready;
  if (grid_options().order == GridOptions::Order::Random) {
    make_ready(block.warps[thread->warp], 1u << thread->lane);
    Thread* next = pick();
    if (next != thread) switch_to(&thread->stack->context, next);
  }
}

void give_turn() {
  Thread* thread = this_thread();
  Thread* next = nullptr;
  if (grid_options().order == GridOptions::Order::Random) {
    make_ready(block.warps[thread->warp], 1u << thread->lane);
    next = pick();
    if (next == thread) return;
  } else {
    // The next one after this thread, around the block, so that all get a turn.
    const bool forward = grid_options().order == GridOptions::Order::Forward;
    for (uint32_t i = 1; i < block.n_threads && next == nullptr; ++i) {
      const uint32_t linear = (thread->linear + (forward ? i : block.n_threads - i)) % block.n_threads;
      Thread& other = block.threads[linear];
      if (block.warps[other.warp].ready >> other.lane & 1) next = &other;
    }
    if (next == nullptr) return;
    make_ready(block.warps[thread->warp], 1u << thread->lane);
    take(block.warps[next->warp], next->lane);
    block.current_warp = next->warp;
  }
  switch_to(&thread->stack->context, next);
}

void give_way() {
  give_turn();
}

void leave_thread() {
  Thread* thread = this_thread();
  finish_thread(thread);
  Stack* stack = thread->stack;
  thread->stack = nullptr;
  Thread* next = pick();
  return_stack(stack);
  void* nowhere;
  switch_to(&nowhere, next);
  __builtin_unreachable();
}

void abort_grid() {
  block.is_aborted = true;
  void* nowhere;
  current_thread = nullptr;
  switch_context(&nowhere, block.main_context);
  __builtin_unreachable();
}

void barrier_wait(uint32_t id, uint32_t count, bool, uint32_t site) {
  wait_at(id, count, false, site);
}

BarrierCount barrier_count(uint32_t id, uint32_t count, bool predicate, bool, uint32_t site) {
  return wait_at(id, count, predicate, site);
}

void barrier_arrive(uint32_t id, uint32_t count, bool, uint32_t site) {
  Barrier& barrier = barrier_of(id, site);
  arrive(barrier, count, false, site);
  if (is_complete(barrier)) release_barrier(barrier);
}

bool run_block(Extent index, uint32_t linear) {
  block.linear = linear;
  running.index = index;
  block.n_live = block.n_threads;
  block.ready_warps = 0;
  block.is_aborted = false;
  block.random = (grid_options().seed + 1) * 0x9e3779b97f4a7c15ull ^ (linear + 1) * 0xd1b54a32d192ed03ull;
  if (block.random == 0) block.random = 1;
  for (Warp& warp : block.warps) {
    warp.waiting = warp.exited = 0;
    warp.ready = 0;
    make_ready(warp, warp.exist);
  }
  block.current_warp = grid_options().order == GridOptions::Order::Reverse ? uint32_t(block.warps.size() - 1) : 0;
  for (Thread& thread : block.threads) {
    thread.state = ThreadState::New;
    thread.site = kNoSite;
    thread.copy_group = 0;
    thread.copies.clear();
  }
  for (Barrier& barrier : block.barriers) {
    barrier.n_arrived = barrier.n_true = 0;
    barrier.arrived.clear();
  }
  switch_to(&block.main_context, pick());
  if (!block.is_aborted && block.n_live > 0) {
    report_deadlock();
    block.is_aborted = true;
  }
  for (Thread& thread : block.threads) {
    if (thread.stack != nullptr) return_stack(thread.stack);
    thread.stack = nullptr;
  }
  return !block.is_aborted;
}

}  // namespace sluice::simt
