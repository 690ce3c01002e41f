// Which accesses happen before which: what barriers of a block, barriers of a warp, and fences with atomics order.
//
// Time is a number that grows at every event that orders anything. An access is stamped with the time at which it happens, so an event
// at time s that makes a thread know another one puts all of that one's accesses with stamps up to s before its own. Blocks run one
// after another: a stamp tells its block too.
//
// Shuffles, votes and matrix operations order nothing, as CUDA has it; strong accesses to shared memory do not either.
#pragma once

#include <cstdint>

namespace sluice::simt {

struct Barrier;
struct Warp;

struct Stamp {
  uint64_t time = 0;
  uint32_t thread = 0;  // linear, in its block
};

void begin_ordering_of_launch();
void begin_ordering_of_block();
void order_barrier(const Barrier& barrier);
void order_warp(const Warp& warp, uint32_t lanes);

uint64_t time_now();
uint64_t time_of_launch();  // when it began: stamps before it are nobody's
uint64_t time_of_block();
uint64_t known_to_all();  // of the running block: all its accesses up to here lie before whatever comes

// Whether what another thread of the running block did lies before what this thread does now.
bool is_before_in_block(const Stamp& access, uint32_t this_thread);
// The same for a thread of another block of the launch: only fences and atomics can have ordered it.
bool is_before_across_blocks(const Stamp& access);
// Of the grid, by a time at which it ran.
uint64_t block_at(uint64_t time);

}  // namespace sluice::simt
