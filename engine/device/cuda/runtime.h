// The CUDA runtime's handles, owned, and its errors as ours.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "engine/error.h"

namespace sluice::engine::cuda {

// Throws Error(OutOfMemory) for the runtime's own shortage of memory, else Error(Device); `what` is a clause: "copying weights".
void check(cudaError_t status, const char* what);

// Memory that kernels can touch: VRAM, or pinned RAM of the host that is mapped into the GPU's addresses.
class Memory {
 public:
  enum class Kind : uint8_t { Vram, Pinned };

  Memory() = default;
  Memory(Memory&& other) noexcept { *this = std::move(other); }
  Memory& operator=(Memory&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(host_, other.host_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Memory();

  // Empty where there is no such memory left.
  static Memory allocate(Kind kind, uint64_t bytes);

  explicit operator bool() const { return device_ != nullptr; }
  Kind kind() const { return host_ != nullptr ? Kind::Pinned : Kind::Vram; }
  std::byte* device() const { return device_; }
  std::byte* host() const { return host_; }  // null for VRAM
  uint64_t bytes() const { return bytes_; }

 private:
  std::byte* device_ = nullptr;
  std::byte* host_ = nullptr;
  uint64_t bytes_ = 0;
};

// Pinned memory or Error(OutOfMemory): what passes cannot do without.
Memory pinned_memory(uint64_t bytes);
// VRAM, and where none is left pinned memory, which kernels read over PCIe.
Memory vram_or_pinned_memory(uint64_t bytes);

class StreamHandle {
 public:
  StreamHandle();
  ~StreamHandle();
  StreamHandle(const StreamHandle&) = delete;
  StreamHandle& operator=(const StreamHandle&) = delete;
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// For ordering streams; may be let go while it is waited for.
class EventHandle {
 public:
  EventHandle();
  ~EventHandle();
  EventHandle(const EventHandle&) = delete;
  EventHandle& operator=(const EventHandle&) = delete;
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace sluice::engine::cuda
