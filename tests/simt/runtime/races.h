// Marks on every byte of shared memory, and on every word or byte of global memory that a launch touched: who wrote and read it last,
// and when.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/simt/runtime/module.h"

namespace sluice::simt {

// Neighbouring words or bytes of global memory that the last launch touched in one way.
struct TouchedRange {
  uint64_t address = 0;
  uint64_t bytes = 0;
  bool is_written = false;  // else only read
  bool is_strong = false;   // by atomics, or accesses as strong as they
};
// By address. Only where grid_options().check was on; until the next launch.
std::vector<TouchedRange> ranges_of_last_launch();

void order_shared_access(uint64_t address, uint32_t bytes, SiteKind kind, uint32_t site);
void order_global_access(uint64_t address, uint32_t bytes, SiteKind kind, uint32_t site);

// At the beginning of a launch: those of earlier ones mean nothing any more, but take memory.
void forget_marks_of_global_memory();

}  // namespace sluice::simt
