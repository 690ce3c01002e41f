#include "engine/device/cuda/cells.h"

#include <algorithm>
#include <cstring>

namespace sluice::engine::cuda {

void Cells::grow(uint64_t bytes) {
  uint64_t size = std::max<uint64_t>({device_.bytes(), first_bytes_, 4096});
  while (size < rounded(bytes)) size *= 2;
  host_ = pinned_memory(size);
  device_ = vram_or_pinned_memory(size, account_);
  on_device_.clear();
  reset();
}

const std::byte* Cells::place_bytes(const void* values, uint64_t bytes) {
  if (bytes > 0) std::memcpy(host_.host() + used_, values, bytes);
  if (rounded(bytes) > bytes) std::memset(host_.host() + used_ + bytes, 0, rounded(bytes) - bytes);
  const std::byte* address = device_.device() + used_;
  used_ += rounded(bytes);
  return address;
}

void Cells::upload(cudaStream_t stream) {
  if (uploaded_ == used_) return;
  const std::byte* from = host_.host() + uploaded_;
  const uint64_t bytes = used_ - uploaded_;
  bool is_there = false;
  if (only_changes_) {
    if (on_device_.size() < used_) on_device_.resize(used_);
    is_there = std::memcmp(on_device_.data() + uploaded_, from, bytes) == 0;
    std::memcpy(on_device_.data() + uploaded_, from, bytes);
  }
  if (!is_there)
    check(cudaMemcpyAsync(device_.device() + uploaded_, from, bytes, cudaMemcpyDefault, stream),
          "copying what a pass is about");
  uploaded_ = used_;
}

}  // namespace sluice::engine::cuda
