#include "engine/device/cuda/runtime.h"

namespace sluice::engine::cuda {

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // the next call begins afresh
  const std::string reason = std::string(cudaGetErrorName(status)) + ", " + cudaGetErrorString(status);
  if (status == cudaErrorMemoryAllocation)
    throw Error(Error::Kind::OutOfMemory, std::string("The GPU ran out of memory ") + what + " (" + reason +
                                              "); use less of it (--vram), a shorter context (-c), or --device cpu.");
  throw Error(Error::Kind::Device,
              std::string("The GPU failed ") + what + " (" + reason + "); --device cpu does without it.");
}

Memory Memory::allocate(Kind kind, uint64_t bytes) {
  Memory memory;
  void* address = nullptr;
  const cudaError_t status =
      kind == Kind::Vram ? cudaMalloc(&address, bytes) : cudaHostAlloc(&address, bytes, cudaHostAllocMapped);
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
  return memory;
}

Memory::~Memory() {
  if (host_ != nullptr)
    cudaFreeHost(host_);
  else if (device_ != nullptr)
    cudaFree(device_);
}

Memory pinned_memory(uint64_t bytes) {
  Memory memory = Memory::allocate(Memory::Kind::Pinned, bytes);
  if (!memory)
    throw Error(Error::Kind::OutOfMemory,
                "The system has no " + std::to_string(bytes) + " bytes of memory that can be pinned for the GPU.");
  return memory;
}

Memory vram_or_pinned_memory(uint64_t bytes) {
  Memory memory = Memory::allocate(Memory::Kind::Vram, bytes);
  return memory ? std::move(memory) : pinned_memory(bytes);
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
