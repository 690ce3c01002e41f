// Making launches, and refusing what cannot be launched.
#pragma once

#include <stdexcept>
#include <string>

#include "kernels/cuda/launch.h"

namespace sluice::kernels::cuda {

struct Grid {
  int64_t x = 1, y = 1, z = 1;
};

// Throws std::invalid_argument with `what` (a sentence's begin: "A product") for more thread blocks than a grid can have.
template <class Arguments>
void append_launch(Launches& list, const char* what, const void* kernel, const char* name, Grid grid, int64_t n_threads,
                   int64_t shared_bytes, const Arguments& arguments) {
  if (grid.x <= 0 || grid.y <= 0 || grid.z <= 0) return;  // nothing to do
  if (grid.x > 0x7FFFFFFF || grid.y > 0xFFFF || grid.z > 0xFFFF)
    throw std::invalid_argument(
        std::string(what) + " of so many rows (" + std::to_string(grid.x) + " x " + std::to_string(grid.y) + " x " +
        std::to_string(grid.z) +
        " thread blocks) does not fit one launch, which has at most 2147483647 x 65535 x 65535: give it "
        "in parts.");
  Launch launch;
  launch.kernel = kernel;
  launch.name = name;
  launch.grid[0] = static_cast<uint32_t>(grid.x);
  launch.grid[1] = static_cast<uint32_t>(grid.y);
  launch.grid[2] = static_cast<uint32_t>(grid.z);
  launch.block[0] = static_cast<uint32_t>(n_threads);
  launch.shared_bytes = static_cast<uint32_t>(shared_bytes);
  set_arguments(launch, arguments);
  list.push_back(launch);
}

inline int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

inline void require(bool is_so, const char* sentence) {
  if (!is_so) throw std::invalid_argument(sentence);
}

}  // namespace sluice::kernels::cuda
