// A kernel launch as a value: what to start, how many threads, and the one structure of arguments that every kernel takes.
//
// The operations of kernels/cuda make launches and start nothing. Whoever has a list of them may start each on a stream, capture
// them in a graph, or find that the list is byte for byte that of the token before and launch the graph that was made of it. For
// this to be so, what changes from token to token (token ids, positions, which experts, where the cache's pages lie) is never an
// argument: arguments point to where it is read from device memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

namespace sluice::kernels::cuda {

struct Launch {
  static constexpr size_t kMostArgumentBytes = 240;

  const void* kernel = nullptr;  // the kernel's symbol on the host, as cudaLaunchKernel takes it
  const char* name = "";         // for reports; lives as long as the program
  uint32_t grid[3] = {1, 1, 1};
  uint32_t block[3] = {1, 1, 1};
  uint32_t shared_bytes = 0;  // dynamic
  uint32_t argument_bytes = 0;
  alignas(16) std::byte arguments[kMostArgumentBytes] = {};

  bool operator==(const Launch& other) const {
    return kernel == other.kernel && std::memcmp(grid, other.grid, sizeof grid) == 0 &&
           std::memcmp(block, other.block, sizeof block) == 0 && shared_bytes == other.shared_bytes &&
           argument_bytes == other.argument_bytes && std::memcmp(arguments, other.arguments, argument_bytes) == 0;
  }
};

using Launches = std::vector<Launch>;

// Arguments must have no gaps between their members (or gaps that were zeroed), because launches are compared as bytes.
template <class Arguments>
void set_arguments(Launch& launch, const Arguments& arguments) {
  static_assert(std::is_trivially_copyable_v<Arguments> && sizeof(Arguments) <= Launch::kMostArgumentBytes);
  launch.argument_bytes = sizeof arguments;
  std::memcpy(launch.arguments, &arguments, sizeof arguments);
}

}  // namespace sluice::kernels::cuda
