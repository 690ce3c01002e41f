// Values that differ from pass to pass, where kernels find them at the same addresses each time: token ids, positions, pointers to
// the cache's pages. The host writes them into pinned memory, and they go to VRAM together, in one copy a submission.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/device/cuda/runtime.h"

namespace sluice::engine::cuda {

class Cells {
 public:
  // Has no memory yet: the first grow() gives it `first_bytes` at least. only_changes: remembers what VRAM has, and copies a
  // submission's cells only when they are not the same. For tables that seldom change.
  Cells(uint64_t first_bytes, bool only_changes, std::shared_ptr<VramAccount> account = {})
      : first_bytes_(first_bytes), only_changes_(only_changes), account_(std::move(account)) {}

  bool has_room(uint64_t bytes) const { return used_ + rounded(bytes) <= device_.bytes(); }
  bool is_empty() const { return used_ == 0; }
  // Room for more than `bytes`, elsewhere, and empty. Nothing may be in flight.
  void grow(uint64_t bytes);

  // The address in VRAM that `values` will have from the next upload on. There must be room.
  template <class T>
  const T* place(std::span<const T> values) {
    return reinterpret_cast<const T*>(place_bytes(values.data(), values.size_bytes()));
  }

  // Queues the copy of what was placed since the last one.
  void upload(cudaStream_t stream);
  // All copies are done: begin anew at the first cell.
  void reset() { used_ = uploaded_ = 0; }

 private:
  static uint64_t rounded(uint64_t bytes) { return (bytes + 15) / 16 * 16; }
  const std::byte* place_bytes(const void* values, uint64_t bytes);

  Memory host_, device_;
  uint64_t first_bytes_;
  bool only_changes_;
  std::shared_ptr<VramAccount> account_;
  std::vector<std::byte> on_device_;
  uint64_t used_ = 0, uploaded_ = 0;
};

}  // namespace sluice::engine::cuda
