// How kernels use memory, counted a warp at a time: requests, the 32-byte sectors that they touch, and bank conflicts, for each
// source line; and the instructions that warps execute. Of a GPU's counters these are the ones that can be predicted exactly.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/simt/runtime/module.h"

namespace sluice::simt {

// What one line of a kernel asked of memory in one way (global or shared; a load, a store or an atomic).
struct LineCounts {
  std::string file;
  uint32_t line = 0;
  Space space = Space::Global;
  SiteKind kind = SiteKind::Load;
  uint64_t requests = 0;       // of a warp
  uint64_t bytes_asked = 0;    // by all lanes together
  uint64_t sectors = 0;        // global: 32-byte sectors that the requests touch, each request's counted once
  uint64_t least_sectors = 0;  // if the distinct bytes of each request lay side by side
  uint64_t wavefronts = 0;     // shared: passes through the 32 banks
  uint64_t least_wavefronts = 0;
};

struct AccessCounts {
  std::string kernel;     // mangled
  uint64_t n_blocks = 0;  // of the grid
  uint64_t n_counted_blocks = 0;
  // Of the counted blocks, one element for each line and way.
  std::vector<LineCounts> lines;
  uint64_t sectors_read = 0, sectors_written = 0;
  uint64_t distinct_bytes_read = 0;                          // of global memory, by whichever of the blocks
  uint64_t distinct_sectors_read = 0;                        // that these lie in
  std::array<uint64_t, kInstructionClasses> instructions{};  // executed by warps; of PTX
  uint64_t all_instructions() const {
    uint64_t sum = 0;
    for (uint64_t n : instructions) sum += n;
    return sum;
  }
};

// Counts the first n_blocks blocks of each launch from now on (in the order in which they run); 0 switches it off.
void count_accesses(uint64_t n_blocks);
// Of the launches since the last call, in order.
std::vector<AccessCounts> take_access_counts();

// For the runtime.
void count_access(uint64_t address, uint32_t site);
void begin_counting_launch(uint64_t n_blocks);
void begin_counting_block();
void end_counting_block();
void end_counting_launch();
bool wants_counts();  // of the next block

}  // namespace sluice::simt
