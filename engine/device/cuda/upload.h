// Host memory of any kind to the GPU: straight from where it is pinned, else through two pinned buffers, so that one is filled while the
// other is copied from.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "engine/device/cuda/pinned_ranges.h"
#include "engine/device/cuda/runtime.h"

namespace sluice::engine::cuda {

class Upload {
 public:
  // pinned: what is known to be; null: nothing.
  explicit Upload(std::shared_ptr<const PinnedRanges> pinned = nullptr) : pinned_(std::move(pinned)) {}
  ~Upload();
  Upload(const Upload&) = delete;
  Upload& operator=(const Upload&) = delete;

  // Copies in the order of the stream. The copies may still be under way when this returns: then `host` may change, but where it is pinned.
  void copy(void* to, const void* host, uint64_t bytes, cudaStream_t stream);

 private:
  struct Half {
    Memory memory;
    cudaEvent_t copied = nullptr;  // recorded behind the last copy from it
  };
  std::shared_ptr<const PinnedRanges> pinned_;
  Half halves_[2];
  int next_ = 0;
};

}  // namespace sluice::engine::cuda
