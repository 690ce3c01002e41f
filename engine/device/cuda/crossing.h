// Rows on their way from one GPU to another: straight, where the driver lets one read the other's memory, else through pinned memory of the
// host. Events keep the order; the host waits for nothing, but once when the rows are more than ever before.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/device/cuda/pass.h"
#include "engine/device/cuda/runtime.h"

namespace sluice::engine::cuda {

class Crossing {
 public:
  // Between two GPUs, always in this direction. reads_peer: straight, if the driver lets it. Throws Error.
  Crossing(int to_gpu, int from_gpu, bool reads_peer);
  ~Crossing();
  Crossing(const Crossing&) = delete;
  Crossing& operator=(const Crossing&) = delete;

  // What the one is asked for from now on sees them, and what the other is asked for from now on may change where they were. Starts both.
  void copy(Pass& to_pass, void* to, Pass& from_pass, const void* from, uint64_t bytes);

 private:
  void copy_straight(Pass& to_pass, void* to, Pass& from_pass, const void* from, uint64_t bytes);
  void copy_through_host(Pass& to_pass, void* to, Pass& from_pass, const void* from, uint64_t bytes);

  int to_gpu_, from_gpu_;
  bool is_straight_ = false;
  std::optional<EventHandle> made_;     // of the GPU that the rows come from: they are there, or in the host's memory
  std::optional<EventHandle> arrived_;  // of the one that they go to
  Memory host_;
};

}  // namespace sluice::engine::cuda
