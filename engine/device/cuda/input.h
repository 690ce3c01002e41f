// Rows together with their 8-bit forms in device memory, and where that memory comes from.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "engine/device/cuda/runtime.h"
#include "engine/device/device.h"
#include "kernels/cuda/activations.h"
#include "kernels/cuda/rows.h"

namespace sluice::engine::cuda {

inline kernels::cuda::FloatRows float_rows(const Rows& x) {
  return {x.data, x.n_rows, x.n_cols, x.stride};
}

// Device memory for the short lives within a pass. What is given back is handed out again in the same order, so a pass that asks
// for the same gets the same addresses, and the same graph. Everything on one stream may share it: reuse comes after use.
class Scratch {
 public:
  explicit Scratch(std::shared_ptr<VramAccount> account = {}) : account_(std::move(account)) {}
  Memory take(uint64_t bytes);
  void give_back(Memory memory) noexcept;
  // Frees what nobody has. Nothing may be in flight.
  void trim() { free_.clear(); }

 private:
  std::shared_ptr<VramAccount> account_;
  std::map<uint64_t, std::vector<Memory>> free_;  // by size
};

// Scratch memory for a scope; what was appended in it may still use it, and is done before what is appended later.
class ScratchLease {
 public:
  ScratchLease(Scratch& scratch, uint64_t bytes) : scratch_(scratch), memory_(scratch.take(bytes)) {}
  ~ScratchLease() { scratch_.give_back(std::move(memory_)); }
  ScratchLease(const ScratchLease&) = delete;
  ScratchLease& operator=(const ScratchLease&) = delete;
  std::byte* data() const { return memory_.device(); }

 private:
  Scratch& scratch_;
  Memory memory_;
};

class CudaInput : public Input {
 public:
  CudaInput(Scratch& scratch, Rows x);
  ~CudaInput() override { scratch_.give_back(std::move(memory_)); }
  CudaInput(const CudaInput&) = delete;
  CudaInput& operator=(const CudaInput&) = delete;

  kernels::cuda::Activations activations;

 private:
  Scratch& scratch_;
  Memory memory_;
};

}  // namespace sluice::engine::cuda
