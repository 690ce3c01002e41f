// A kernel launch as a value: what to start, how many threads, and the one structure of arguments that every kernel takes. A list of
// launches may also hold waits: steps that start no kernel and hold up those behind them.
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
  static constexpr size_t kMostArgumentBytes = 704;

  enum class Kind : uint32_t {
    Kernel,
    WaitForWord,   // what is behind it begins once a word in memory has a value: WordArguments
    HostFunction,  // what is behind it begins once a function on the host has returned: HostFunctionArguments
  };
  Kind kind = Kind::Kernel;
  const void* kernel = nullptr;  // the kernel's symbol on the host, as cudaLaunchKernel takes it
  const char* name = "";         // for reports; lives as long as the program
  uint32_t grid[3] = {1, 1, 1};
  uint32_t block[3] = {1, 1, 1};
  uint32_t shared_bytes = 0;  // dynamic
  uint32_t argument_bytes = 0;
  alignas(16) std::byte arguments[kMostArgumentBytes] = {};

  bool operator==(const Launch& other) const {
    return kind == other.kind && kernel == other.kernel && std::memcmp(grid, other.grid, sizeof grid) == 0 &&
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

// The value is part of the list, and of the graph that is made of it, so it must be the same for each pass.
struct WordArguments {
  const uint32_t* word = nullptr;  // device memory, or mapped memory of the host by the device's address
  uint32_t value = 0;              // the word is at least this, cyclically: int32_t(word - value) >= 0
  uint32_t unused = 0;
};
// Called on a thread of the driver; must not call CUDA, nor throw. `data` lives until no graph of the list is left.
struct HostFunctionArguments {
  void (*function)(void* data) = nullptr;
  void* data = nullptr;
};

inline void append_wait_for_word(Launches& list, const WordArguments& arguments) {
  Launch launch;
  launch.kind = Launch::Kind::WaitForWord;
  launch.name = "wait for a word";
  set_arguments(launch, arguments);
  list.push_back(launch);
}
inline void append_host_function(Launches& list, const HostFunctionArguments& arguments) {
  Launch launch;
  launch.kind = Launch::Kind::HostFunction;
  launch.name = "host function";
  set_arguments(launch, arguments);
  list.push_back(launch);
}

}  // namespace sluice::kernels::cuda
