// Host memory of any kind to the GPU: through two pinned buffers, so that one is filled while the other is copied from.
#pragma once

#include <cstdint>

#include "engine/device/cuda/runtime.h"

namespace sluice::engine::cuda {

class Upload {
 public:
  Upload() = default;
  ~Upload();
  Upload(const Upload&) = delete;
  Upload& operator=(const Upload&) = delete;

  // Copies in the order of the stream; `host` may change when this returns, the copies may still be under way.
  void copy(void* to, const void* host, uint64_t bytes, cudaStream_t stream);

 private:
  struct Half {
    Memory memory;
    cudaEvent_t copied = nullptr;  // recorded behind the last copy from it
  };
  Half halves_[2];
  int next_ = 0;
};

}  // namespace sluice::engine::cuda
