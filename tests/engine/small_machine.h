// A machine for plans of the fixtures.
#pragma once

#include <initializer_list>

#include "engine/placement/machine.h"

namespace sluice::tests {

inline engine::Machine small_machine() {
  engine::Machine machine;
  machine.name = "small";
  machine.ram_bytes = uint64_t{1} << 33;
  machine.ram_bytes_per_second = 20e9;
  machine.n_cores = 2;
  machine.kernels[gguf::TensorType::Q8_0] = {10e9, 0, 50e9};
  machine.attention_multiply_adds_per_second = 20e9;
  machine.disk_bytes_per_second = 1e9;
  machine.cpu_share_beside_disk = 0.8;
  return machine;
}

inline engine::Machine with_gpu(uint64_t vram_bytes) {
  engine::Machine machine = small_machine();
  machine.gpus = {{"gpu", vram_bytes, 500e9, 10e9, 50e12}};
  return machine;
}

// Each of another speed and link.
inline engine::Machine with_gpus(std::initializer_list<uint64_t> vram_bytes) {
  engine::Machine machine = small_machine();
  for (const uint64_t bytes : vram_bytes) {
    const double speed = 1.0 / static_cast<double>(1 + machine.gpus.size());
    machine.gpus.push_back({"gpu", bytes, 500e9 * speed, 10e9 * speed, 50e12 * speed});
  }
  return machine;
}

}  // namespace sluice::tests
