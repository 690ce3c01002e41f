// What bench/gpu/count_kernels.cc counts: launches of the CUDA kernels at the shapes of real models.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "kernels/cuda/launch.h"

namespace sluice::bench {

struct CountCase {
  std::string model;   // whose shape it is
  std::string place;   // where in the model
  std::string format;  // of its weights or of its cache; empty: of neither
  kernels::cuda::Launch launch;
  uint64_t weights = 0;       // multiplied; positions times columns of the cache, for attention
  uint64_t weight_bytes = 0;  // that must be read once
  uint64_t other_bytes = 0;   // activations, each read once, and outputs, each written once
  uint64_t n_inputs = 1;      // that each weight is multiplied by
  int64_t n_columns = 0;      // of tiles
  uint64_t n_stages = 0;      // of a thread block that copies one tile of keys while it multiplies the one before
};

// Memory of the (emulated) device for one case after another: random bytes, and zeros.
struct CaseMemory {
  std::byte* random = nullptr;
  uint64_t random_bytes = 0;
  std::byte* zeros = nullptr;
  uint64_t zero_bytes = 0;
};
inline constexpr uint64_t kCountedBytes = uint64_t{96} << 20;  // enough for the first thread blocks of every launch
CaseMemory allocate_case_memory(uint64_t random_bytes = kCountedBytes, uint64_t zero_bytes = kCountedBytes);

// Every case, one after another: what its launch points to is there until the visit ends. Matrices lie in the same random bytes, as
// much of them as fits, so only the first thread blocks of a launch may be run.
void visit_count_cases(const CaseMemory& memory, const std::function<void(const CountCase&)>& visit);

// The same of products with many inputs, by tiles (kernels/cuda/gemm.cuh, gemm_floats.cuh; bench/gpu/tile_cases.cc). Outputs lie closer together than a model's, so that those
// of the first thread blocks fit.
void visit_tile_cases(const CaseMemory& memory, const std::function<void(const CountCase&)>& visit);

}  // namespace sluice::bench
