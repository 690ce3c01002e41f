#include "tests/simt/runtime/ordering.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "tests/simt/runtime/block.h"

namespace sluice::simt {
namespace {

uint64_t now = 1;
uint64_t launch_began = 1, block_began = 1;
uint64_t block_floor = 0;
uint64_t warp_floors[32];

// Beyond the floors: what a thread knows of single others. Times only grow, so what is left from other blocks does no harm.
struct Knowledge {
  uint64_t lanes[32] = {};    // of its own warp
  std::vector<uint64_t> all;  // of the block; empty until a barrier of a part of the block
  uint64_t fenced_at = 0;     // by its last fence
  uint64_t floor_at_fence = 0, warp_floor_at_fence = 0;
};
std::vector<Knowledge> knowledge;
bool some_know_of_all = false;

// What a fence and an atomic operation after it, or a store, published at an address.
struct Release {
  uint64_t block_began;
  uint32_t thread;
  uint64_t fenced_at, floor, warp_floor;
};
std::unordered_map<uint64_t, std::vector<Release>> releases;  // by address
std::unordered_map<uint64_t, std::vector<Release>>
    acquired;  // by the releasing block's beginning; of the running block
std::vector<std::pair<uint64_t, uint64_t>> blocks_of_launch;  // (began, linear index)

uint64_t known_of(uint32_t thread, uint32_t other) {
  if (thread == other) return now;
  const Knowledge& k = knowledge[thread];
  uint64_t known = k.all.empty() ? 0 : k.all[other];
  if (thread / 32 == other / 32) known = std::max({known, k.lanes[other % 32], warp_floors[thread / 32]});
  return known;
}

void learn(uint32_t thread, const std::vector<uint64_t>& known) {
  std::vector<uint64_t>& all = knowledge[thread].all;
  all.resize(block.n_threads);
  for (uint32_t u = 0; u < block.n_threads; ++u) all[u] = std::max(all[u], known[u]);
  some_know_of_all = true;
}

void acquire(uint64_t address) {
  const auto found = releases.find(address);
  if (found == releases.end()) return;
  for (const Release& release : found->second) {
    if (release.block_began != block_began) {
      acquired[release.block_began].push_back(release);
    } else {
      // A fence also covers what its thread knew of: all up to the block's floor, and of its warp up to the warp's.
      std::vector<uint64_t> known(block.n_threads);
      const uint32_t first = release.thread / 32 * 32;
      for (uint32_t u = first; u < std::min(first + 32, block.n_threads); ++u) known[u] = release.warp_floor;
      known[release.thread] = release.fenced_at;
      learn(this_thread()->linear, known);
    }
  }
}

void release(uint64_t address) {
  const uint32_t thread = this_thread()->linear;
  const Knowledge& k = knowledge[thread];
  if (k.fenced_at < block_began) return;
  std::vector<Release>& here = releases[address];
  if (!here.empty() && here.back().block_began == block_began && here.back().thread == thread &&
      here.back().fenced_at == k.fenced_at) {
    return;
  }
  here.push_back({block_began, thread, k.fenced_at, k.floor_at_fence, k.warp_floor_at_fence});
}

bool is_ordering() {
  return grid_options().check;
}

// A thread that waits for another by looking at memory must let it run.
void let_others_run() {
  if (++this_thread()->n_strong_in_a_row % 8 == 0) give_turn();
}

}  // namespace

void begin_ordering_of_launch() {
  launch_began = ++now;
  releases.clear();
  blocks_of_launch.clear();
}

void begin_ordering_of_block() {
  block_floor = now;
  block_began = ++now;
  acquired.clear();
  if (!is_ordering()) return;
  blocks_of_launch.emplace_back(
      block_began, uint64_t(running.index.x) +
                       uint64_t(running.grid.x) * (running.index.y + uint64_t(running.grid.y) * running.index.z));
  if (knowledge.size() < block.n_threads) knowledge.resize(block.n_threads);
  if (some_know_of_all) {
    for (Knowledge& k : knowledge) k.all.clear();
    some_know_of_all = false;
  }
}

void order_barrier(const Barrier& barrier) {
  if (!is_ordering()) return;
  const auto waits = [&](uint32_t linear) {
    const Thread& thread = block.threads[linear];
    return thread.state == ThreadState::AtBarrier && &block.barriers[thread.barrier] == &barrier;
  };
  if (barrier.n_arrived >= block.n_live && std::all_of(barrier.arrived.begin(), barrier.arrived.end(), waits)) {
    block_floor = now++;
    return;
  }
  std::vector<uint64_t> known(block.n_threads);
  for (uint32_t thread : barrier.arrived) {
    for (uint32_t other = 0; other < block.n_threads; ++other)
      known[other] = std::max(known[other], known_of(thread, other));
  }
  for (uint32_t thread : barrier.arrived) {
    if (waits(thread)) learn(thread, known);
  }
  ++now;
}

void order_warp(const Warp& warp, uint32_t lanes) {
  if (!is_ordering()) return;
  const uint32_t first = warp.index * 32;
  if (some_know_of_all) {
    std::vector<uint64_t> known(block.n_threads);
    for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
      const uint32_t thread = first + uint32_t(__builtin_ctz(rest));
      for (uint32_t other = 0; other < block.n_threads; ++other)
        known[other] = std::max(known[other], known_of(thread, other));
    }
    for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) learn(first + uint32_t(__builtin_ctz(rest)), known);
    if (lanes == warp.exist) warp_floors[warp.index] = now;
  } else if (lanes == warp.exist) {  // a lane that has ended was not ordered
    warp_floors[warp.index] = now;
  } else {
    uint64_t known[32] = {};
    for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
      const uint32_t lane = uint32_t(__builtin_ctz(rest));
      for (uint32_t other = 0; other < 32; ++other)
        known[other] = std::max(known[other], knowledge[first + lane].lanes[other]);
    }
    for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) known[__builtin_ctz(rest)] = now;
    for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
      std::copy(known, known + 32, knowledge[first + uint32_t(__builtin_ctz(rest))].lanes);
    }
  }
  ++now;
}

uint64_t time_now() {
  return now;
}
uint64_t time_of_launch() {
  return launch_began;
}
uint64_t time_of_block() {
  return block_began;
}
uint64_t known_to_all() {
  return block_floor;
}

bool is_before_in_block(const Stamp& access, uint32_t thread) {
  return access.time <= block_floor || access.thread == thread || access.time <= known_of(thread, access.thread);
}

bool is_before_across_blocks(const Stamp& access) {
  if (acquired.empty()) return false;
  auto after = std::upper_bound(blocks_of_launch.begin(), blocks_of_launch.end(), std::pair(access.time, ~uint64_t(0)));
  if (after == blocks_of_launch.begin()) return false;
  const auto found = acquired.find(std::prev(after)->first);
  if (found == acquired.end()) return false;
  return std::any_of(found->second.begin(), found->second.end(), [&](const Release& r) {
    return access.time <= r.floor || (access.thread == r.thread && access.time <= r.fenced_at) ||
           (access.thread / 32 == r.thread / 32 && access.time <= r.warp_floor);
  });
}

uint64_t block_at(uint64_t time) {
  auto after = std::upper_bound(blocks_of_launch.begin(), blocks_of_launch.end(), std::pair(time, ~uint64_t(0)));
  return after == blocks_of_launch.begin() ? 0 : std::prev(after)->second;
}

// ---- what translated code calls

void fence() {
  if (!is_ordering()) return;
  const Thread* thread = this_thread();
  Knowledge& k = knowledge[thread->linear];
  k.floor_at_fence = block_floor;
  k.warp_floor_at_fence = warp_floors[thread->warp];
  k.fenced_at = now++;
}

void observe(uint64_t address, bool) {
  let_others_run();
  if (is_ordering()) acquire(address);
}

void publish(uint64_t address, bool releases_too) {
  if (!is_ordering()) return;
  if (releases_too) fence();
  release(address);
}

void meet(uint64_t address, bool releases_too) {
  let_others_run();
  if (!is_ordering()) return;
  if (releases_too) fence();
  release(address);
  acquire(address);
}

}  // namespace sluice::simt
