// What a machine can do, as numbers: what a plan is made with. Measured here, or given for a machine that is elsewhere.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "gguf/tensor_type.h"

namespace sluice::engine {

// How fast one core multiplies weights of a type that lie in its caches.
struct KernelRates {
  double weights_per_second = 0;        // by one input, blocks as in the file
  double form_weights_per_second = 0;   // by one input, in the resident form (kernels/resident.h); 0: there is none
  double multiply_adds_per_second = 0;  // by many inputs
};

struct Gpu {
  std::string name;
  uint64_t vram_bytes = 0;              // that a program may have
  double vram_bytes_per_second = 0;     // read
  double pcie_bytes_per_second = 0;     // from pinned memory of the host
  double multiply_adds_per_second = 0;  // of quantised weights with many inputs, by its tensor cores
};

struct Machine {
  std::string name;
  std::string source;               // where the numbers come from, for the reader
  uint64_t ram_bytes = 0;           // that a program may have
  double ram_bytes_per_second = 0;  // read by all cores together
  uint32_t n_cores = 0;             // that multiply
  std::map<gguf::TensorType, KernelRates> kernels;
  double attention_multiply_adds_per_second = 0;  // of one core: scores and values of one token over its context
  double disk_bytes_per_second = 0;               // direct reads of a megabyte, several in flight
  // Of its rate, what multiplying keeps while the disk reads as fast as it can: reads take memory bandwidth and, on virtual
  // machines, cores.
  double cpu_share_beside_disk = 1;
  std::vector<Gpu> gpus;
};

// The GPU of that number; the last one where it has fewer. It must have one.
const Gpu& gpu_of(const Machine& machine, uint32_t number);

// The rates for a type; of the nearest type in bits a weight where the machine has none for it. Throws Error(Usage) for a machine
// without any.
KernelRates rates_for(const Machine& machine, gguf::TensorType type);

}  // namespace sluice::engine
