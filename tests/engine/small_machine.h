// A machine for plans of the fixtures.
#pragma once

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

}  // namespace sluice::tests
