#include "engine/device/cuda/runtime.h"

namespace sluice::engine::cuda {

// By this thread, last.
static thread_local int entered_gpu = -1;

// The GPU that the thread is on, by its number where there are others.
static std::string gpu_in_words() {
  int n_gpus = 0;
  if (cudaGetDeviceCount(&n_gpus) != cudaSuccess) cudaGetLastError();
  return n_gpus > 1 && entered_gpu >= 0 ? "GPU " + std::to_string(entered_gpu) : "The GPU";
}

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // the next call begins afresh
  const std::string reason = std::string(cudaGetErrorName(status)) + ", " + cudaGetErrorString(status);
  if (status == cudaErrorMemoryAllocation)
    throw Error(Error::Kind::OutOfMemory, gpu_in_words() + " ran out of memory " + what + " (" + reason +
                                              "); use less of it (--vram), a shorter context (-c), or --device cpu.");
  throw Error(Error::Kind::Device,
              gpu_in_words() + " failed " + what + " (" + reason + "); --device cpu does without it.");
}

void enter_gpu(int ordinal) {
  entered_gpu = ordinal;
  check(cudaSetDevice(ordinal), "being chosen");
}

void stay_on_gpu(int ordinal) {
  if (entered_gpu != ordinal) enter_gpu(ordinal);
}

bool VramAccount::has_room(uint64_t bytes, uint64_t keep_free) const {
  return limit == 0 || vram + vram_bytes(bytes) + keep_free <= limit;
}

static std::atomic<uint64_t>& sum_of(VramAccount& account, Memory::Kind kind) {
  return kind == Memory::Kind::Vram ? account.vram : account.pinned;
}

Memory Memory::allocate(Kind kind, uint64_t bytes, std::shared_ptr<VramAccount> account) {
  Memory memory;
  void* address = nullptr;
  const cudaError_t status = kind == Kind::Vram
                                 ? cudaMalloc(&address, bytes)
                                 : cudaHostAlloc(&address, bytes, cudaHostAllocMapped | cudaHostAllocPortable);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return memory;
  }
  check(status, "allocating memory");
  memory.bytes_ = bytes;
  memory.device_ = static_cast<std::byte*>(address);
  if (kind == Kind::Pinned) {
    memory.host_ = memory.device_;
    void* mapped = nullptr;
    check(cudaHostGetDevicePointer(&mapped, address, 0), "mapping pinned memory");
    memory.device_ = static_cast<std::byte*>(mapped);
  }
  memory.account_ = std::move(account);
  if (memory.account_) sum_of(*memory.account_, kind) += vram_bytes(bytes);
  return memory;
}

Memory::~Memory() {
  if (account_) sum_of(*account_, kind()) -= vram_bytes(bytes_);
  if (host_ != nullptr)
    cudaFreeHost(host_);
  else if (device_ != nullptr)
    cudaFree(device_);
}

Memory pinned_memory(uint64_t bytes, const std::shared_ptr<VramAccount>& account) {
  Memory memory = Memory::allocate(Memory::Kind::Pinned, bytes, account);
  if (!memory)
    throw Error(Error::Kind::OutOfMemory,
                "The system has no " + std::to_string(bytes) + " bytes of memory that can be pinned for the GPU.");
  return memory;
}

Memory vram_or_pinned_memory(uint64_t bytes, const std::shared_ptr<VramAccount>& account) {
  if (account && !account->has_room(bytes)) return pinned_memory(bytes, account);
  Memory memory = Memory::allocate(Memory::Kind::Vram, bytes, account);
  return memory ? std::move(memory) : pinned_memory(bytes, account);
}

StreamHandle::StreamHandle() {
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
}
StreamHandle::~StreamHandle() {
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

EventHandle::EventHandle() {
  check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "making an event");
}

EventHandle::~EventHandle() {
  cudaEventDestroy(event_);
}

}  // namespace sluice::engine::cuda
