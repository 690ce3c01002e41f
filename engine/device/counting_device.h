// A device that computes nothing and has no memory: it counts what a forward pass would ask for.
#pragma once

#include <memory>

#include "engine/device/device.h"

namespace sluice::engine {

struct CountedMemory {
  uint64_t now = 0;   // bytes
  uint64_t most = 0;  // at any moment
  // Counts as a GPU has it: the short-lived memory of a pass is kept, a stock for each size, and attention has scratch.
  bool of_gpu = false;

  void add(uint64_t bytes);
};

// Buffers, and the 8-bit forms of inputs, are counted in `memory`, which must outlive the device. Their addresses lead nowhere.
std::unique_ptr<Device> make_counting_device(CountedMemory& memory);

}  // namespace sluice::engine
