#include "engine/device/cuda/input.h"

#include <algorithm>

namespace sluice::engine::cuda {

Memory Scratch::take(uint64_t bytes) {
  const uint64_t size = std::max<uint64_t>(256, (bytes + 255) / 256 * 256);
  std::vector<Memory>& free = free_[size];
  if (!free.empty()) {
    Memory memory = std::move(free.back());
    free.pop_back();
    return memory;
  }
  return vram_or_pinned_memory(size, account_);
}

void Scratch::give_back(Memory memory) noexcept {
  if (!memory) return;
  try {
    free_[memory.bytes()].push_back(std::move(memory));
  } catch (const std::bad_alloc&) {
    // Then it is freed, which waits for the GPU.
  }
}

CudaInput::CudaInput(Scratch& scratch, Rows x)
    : activations{x.data, x.stride, x.n_rows, x.n_cols, {}, {}},
      scratch_(scratch),
      memory_(scratch.take(kernels::cuda::form_bytes(x.n_rows, x.n_cols))) {
  kernels::cuda::place_forms(activations, memory_.device());
}

}  // namespace sluice::engine::cuda
