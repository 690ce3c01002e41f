#include "engine/device/cuda/upload.h"

#include <algorithm>
#include <cstring>

namespace sluice::engine::cuda {

// Large enough for PCIe's full rate, small enough to be filled from the processor's caches.
static constexpr uint64_t kHalfBytes = uint64_t{4} << 20;

Upload::~Upload() {
  for (Half& half : halves_) {
    if (half.copied == nullptr) continue;
    cudaEventSynchronize(half.copied);
    cudaEventDestroy(half.copied);
  }
}

void Upload::copy(void* to, const void* host, uint64_t bytes, cudaStream_t stream) {
  for (uint64_t done = 0; done < bytes;) {
    const std::byte* const from = static_cast<const std::byte*>(host) + done;
    // In pieces as well, so that small copies of others come in between.
    if (const uint64_t n = pinned_ ? pinned_->pinned_bytes(from, std::min(bytes - done, kHalfBytes)) : 0; n > 0) {
      check(cudaMemcpyAsync(static_cast<std::byte*>(to) + done, from, n, cudaMemcpyDefault, stream), "copying to it");
      done += n;
      continue;
    }
    Half& half = halves_[next_];
    next_ = 1 - next_;
    if (!half.memory) half.memory = pinned_memory(kHalfBytes);
    if (half.copied == nullptr)
      check(cudaEventCreateWithFlags(&half.copied, cudaEventDisableTiming), "making an event");
    else
      check(cudaEventSynchronize(half.copied), "copying to it");
    const uint64_t now = std::min(bytes - done, kHalfBytes);
    std::memcpy(half.memory.host(), from, now);
    check(cudaMemcpyAsync(static_cast<std::byte*>(to) + done, half.memory.host(), now, cudaMemcpyDefault, stream),
          "copying to it");
    check(cudaEventRecord(half.copied, stream), "copying to it");
    done += now;
  }
}

}  // namespace sluice::engine::cuda
