// The CUDA runtime's handles, owned, and its errors as ours.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "engine/device/device_memory.h"
#include "engine/error.h"

namespace sluice::engine::cuda {

// Throws Error(OutOfMemory) for the runtime's own shortage of memory, else Error(Device); `what` is a clause: "copying weights".
void check(cudaError_t status, const char* what);

// The GPU that the calls of this thread go to from now on, where they do not name one by what they are given: it makes memory, streams and
// events, and starts kernels. CudaDevice enters its own at its door.
void enter_gpu(int ordinal);
// The same, for a thread that nobody but the engine can have led to another one since it entered: then it costs nothing.
void stay_on_gpu(int ordinal);

// What a device may take of VRAM, and what it has.
struct VramAccount {
  uint64_t limit = 0;  // bytes; 0: none
  std::atomic<uint64_t> vram = 0;
  std::atomic<uint64_t> pinned = 0;  // what was to lie there, and does not

  bool has_room(uint64_t bytes, uint64_t keep_free = 0) const;
};

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
    std::swap(account_, other.account_);
    return *this;
  }
  ~Memory();

  // Empty where there is no such memory left. The account, if any, counts it while it lives, and must have room for it.
  static Memory allocate(Kind kind, uint64_t bytes, std::shared_ptr<VramAccount> account = {});

  explicit operator bool() const { return device_ != nullptr; }
  Kind kind() const { return host_ != nullptr ? Kind::Pinned : Kind::Vram; }
  std::byte* device() const { return device_; }
  std::byte* host() const { return host_; }  // null for VRAM
  uint64_t bytes() const { return bytes_; }

 private:
  std::byte* device_ = nullptr;
  std::byte* host_ = nullptr;
  uint64_t bytes_ = 0;
  std::shared_ptr<VramAccount> account_;
};

// Pinned memory or Error(OutOfMemory): what passes cannot do without.
Memory pinned_memory(uint64_t bytes, const std::shared_ptr<VramAccount>& account = {});
// VRAM, and where none is left, or allowed, pinned memory, which kernels read over PCIe.
Memory vram_or_pinned_memory(uint64_t bytes, const std::shared_ptr<VramAccount>& account = {});

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
