// Which accesses happen before which: what a block's barriers, a warp's barriers and fences order, and, from that, races.
//
// Time is a number that grows at every event that orders anything. An access is stamped with the time and its thread. A thread
// knows of every other thread up to which time its accesses lie before it; a barrier of the block raises that for all at once.
#pragma once

#include <cstdint>

namespace sluice::simt {

struct Barrier;
struct Warp;

void begin_ordering_of_launch();
void begin_ordering_of_block();
void order_barrier(const Barrier& barrier);
void order_warp(const Warp& warp, uint32_t lanes);

}  // namespace sluice::simt
