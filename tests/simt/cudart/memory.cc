// Allocations, and pinned memory.
#include "tests/simt/runtime/memory_map.h"

#include <algorithm>

#include "tests/simt/cudart/machine.h"

namespace sluice::simt {
namespace {

constexpr uint64_t kVramGranule = 512;

uint64_t vram_bytes(size_t bytes) {
  return (bytes + kVramGranule - 1) / kVramGranule * kVramGranule;
}

uintptr_t address_of(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer);
}

cudaError_t allocate_pinned(Call& call, void** pointer, size_t bytes, unsigned flags) {
  Machine& m = call.m();
  if (pointer == nullptr ||
      (flags & ~(cudaHostAllocPortable | cudaHostAllocMapped | cudaHostAllocWriteCombined)) != 0) {
    return call.done(cudaErrorInvalidValue);
  }
  if (const cudaError_t error = refuse_in_capture(m)) return call.done(error);
  if (const cudaError_t error = next_fault(m, FaultPoint::HostAlloc)) return call.done(error);
  if (bytes == 0) {
    *pointer = nullptr;
    return cudaSuccess;
  }
  std::byte* data = allocate_memory(MemoryKind::Pinned, current_device(), bytes);
  if (data == nullptr) return call.done(cudaErrorMemoryAllocation);
  m.memory[address_of(data)] = {bytes, MemoryRecord::Kind::Pinned, current_device(), flags, true};
  *pointer = data;
  return cudaSuccess;
}

// The record of a pointer that is given back: just what was handed out, once.
MemoryRecord* record_to_free(Machine& m, const void* pointer) {
  const auto found = m.memory.find(address_of(pointer));
  return found == m.memory.end() ? nullptr : &found->second;
}

}  // namespace

std::optional<FoundMemory> find_record(Machine& machine, const void* address) {
  auto next = machine.memory.upper_bound(address_of(address));
  if (next == machine.memory.begin()) return std::nullopt;
  --next;
  if (!next->second.is_live || address_of(address) - next->first >= next->second.bytes) return std::nullopt;
  return FoundMemory{next->first, &next->second};
}

bool is_usable(Machine& machine, const void* address, size_t bytes) {
  const auto found = find_record(machine, address);
  return found && bytes <= found->record->bytes - (address_of(address) - found->base);
}

}  // namespace sluice::simt

using namespace sluice::simt;

extern "C" {

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  Call call("cudaMemGetInfo");
  if (const cudaError_t error = call.refusal()) return error;
  if (free_bytes == nullptr || total_bytes == nullptr) return call.done(cudaErrorInvalidValue);
  const auto device = static_cast<size_t>(current_device());
  *total_bytes = call.m().options.devices[device].memory_bytes;
  *free_bytes = *total_bytes - std::min<size_t>(*total_bytes, call.m().devices[device].used_bytes);
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  Call call("cudaMalloc");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  if (pointer == nullptr) return call.done(cudaErrorInvalidValue);
  if (const cudaError_t error = refuse_in_capture(m)) return call.done(error);
  if (const cudaError_t error = next_fault(m, FaultPoint::Malloc)) return call.done(error);
  if (bytes == 0) {
    *pointer = nullptr;
    return cudaSuccess;
  }
  const int device = current_device();
  uint64_t& used = m.devices[static_cast<size_t>(device)].used_bytes;
  const uint64_t total = m.options.devices[static_cast<size_t>(device)].memory_bytes;
  if (used > total || bytes > total || vram_bytes(bytes) > total - used) return call.done(cudaErrorMemoryAllocation);
  std::byte* data = allocate_memory(MemoryKind::Device, device, bytes);
  if (data == nullptr) return call.done(cudaErrorMemoryAllocation);
  used += vram_bytes(bytes);
  m.memory[address_of(data)] = {bytes, MemoryRecord::Kind::Device, device, 0, true};
  *pointer = data;
  return cudaSuccess;
}

cudaError_t cudaFree(void* pointer) {
  Call call("cudaFree");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  if (pointer == nullptr) return cudaSuccess;
  if (const cudaError_t error = refuse_in_capture(m)) return call.done(error);
  const MemoryRecord* record = record_to_free(m, pointer);
  if (record == nullptr || record->kind != MemoryRecord::Kind::Device) {
    return call.misuse(cudaErrorInvalidValue, "this is not what cudaMalloc gave out");
  }
  const int device = record->device;
  wait_for_device(m, call.lock(), device);
  MemoryRecord* still = record_to_free(m, pointer);  // the lock was let go
  if (still == nullptr || !still->is_live) return call.misuse(cudaErrorInvalidValue, "this memory was freed before");
  still->is_live = false;
  m.devices[static_cast<size_t>(device)].used_bytes -= vram_bytes(still->bytes);
  free_memory(static_cast<std::byte*>(pointer));
  return call.done(m.devices[static_cast<size_t>(device)].died_of);
}

cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  Call call("cudaMallocHost");
  if (const cudaError_t error = call.refusal()) return error;
  return allocate_pinned(call, pointer, bytes, cudaHostAllocDefault);
}

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned flags) {
  Call call("cudaHostAlloc");
  if (const cudaError_t error = call.refusal()) return error;
  return allocate_pinned(call, pointer, bytes, flags);
}

cudaError_t cudaFreeHost(void* pointer) {
  Call call("cudaFreeHost");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  if (pointer == nullptr) return cudaSuccess;
  if (const cudaError_t error = refuse_in_capture(m)) return call.done(error);
  const MemoryRecord* record = record_to_free(m, pointer);
  if (record == nullptr || record->kind != MemoryRecord::Kind::Pinned) {
    return call.misuse(cudaErrorInvalidValue, "this is not what cudaHostAlloc gave out");
  }
  for (size_t i = 0; i < m.devices.size(); ++i) wait_for_device(m, call.lock(), static_cast<int>(i));
  MemoryRecord* still = record_to_free(m, pointer);
  if (still == nullptr || !still->is_live) return call.misuse(cudaErrorInvalidValue, "this memory was freed before");
  still->is_live = false;
  free_memory(static_cast<std::byte*>(pointer));
  return cudaSuccess;
}

cudaError_t cudaHostRegister(void* pointer, size_t bytes, unsigned flags) {
  Call call("cudaHostRegister");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  const unsigned known =
      cudaHostRegisterPortable | cudaHostRegisterMapped | cudaHostRegisterIoMemory | cudaHostRegisterReadOnly;
  if (pointer == nullptr || bytes == 0 || (flags & ~known) != 0) return call.done(cudaErrorInvalidValue);
  if (const cudaError_t error = refuse_in_capture(m)) return call.done(error);
  if (const cudaError_t error = next_fault(m, FaultPoint::HostRegister)) return call.done(error);
  const uintptr_t first = address_of(pointer);
  const auto next = m.memory.upper_bound(first);
  const bool overlaps_next = next != m.memory.end() && next->second.is_live && next->first - first < bytes;
  if (find_record(m, pointer) || overlaps_next) return call.done(cudaErrorHostMemoryAlreadyRegistered);
  register_memory(static_cast<std::byte*>(pointer), bytes);
  m.memory[first] = {bytes, MemoryRecord::Kind::Registered, current_device(), flags, true};
  return cudaSuccess;
}

cudaError_t cudaHostUnregister(void* pointer) {
  Call call("cudaHostUnregister");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  if (pointer == nullptr) return call.done(cudaErrorInvalidValue);
  if (const cudaError_t error = refuse_in_capture(m)) return call.done(error);
  const MemoryRecord* record = record_to_free(m, pointer);
  if (record == nullptr || record->kind != MemoryRecord::Kind::Registered) {
    return call.misuse(cudaErrorHostMemoryNotRegistered, "this is not what was registered");
  }
  for (size_t i = 0; i < m.devices.size(); ++i) wait_for_device(m, call.lock(), static_cast<int>(i));
  m.memory.erase(address_of(pointer));
  free_memory(static_cast<std::byte*>(pointer));
  return cudaSuccess;
}

cudaError_t cudaHostGetDevicePointer(void** device_pointer, void* host_pointer, unsigned flags) {
  Call call("cudaHostGetDevicePointer");
  if (const cudaError_t error = call.refusal()) return error;
  const auto found = find_record(call.m(), host_pointer);
  if (device_pointer == nullptr || flags != 0 || !found || found->record->kind == MemoryRecord::Kind::Device) {
    return call.done(cudaErrorInvalidValue);
  }
  *device_pointer = host_pointer;  // one address space
  return cudaSuccess;
}

cudaError_t cudaHostGetFlags(unsigned* flags, void* host_pointer) {
  Call call("cudaHostGetFlags");
  if (const cudaError_t error = call.refusal()) return error;
  const auto found = find_record(call.m(), host_pointer);
  if (flags == nullptr || !found || found->record->kind == MemoryRecord::Kind::Device) {
    return call.done(cudaErrorInvalidValue);
  }
  *flags = found->record->flags | cudaHostAllocMapped;
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  Call call("cudaPointerGetAttributes");
  if (const cudaError_t error = call.refusal()) return error;
  if (attributes == nullptr) return call.done(cudaErrorInvalidValue);
  *attributes = {};
  const auto found = find_record(call.m(), pointer);
  auto* address = const_cast<void*>(pointer);
  if (!found) {
    attributes->type = cudaMemoryTypeUnregistered;
    attributes->device = cudaInvalidDeviceId;
    attributes->hostPointer = address;
    return cudaSuccess;
  }
  const bool is_device = found->record->kind == MemoryRecord::Kind::Device;
  attributes->type = is_device ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
  attributes->device = found->record->device;
  attributes->devicePointer = address;
  attributes->hostPointer = is_device ? nullptr : address;
  return cudaSuccess;
}

}  // extern "C"
