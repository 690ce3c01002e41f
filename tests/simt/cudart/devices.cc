// Which devices there are, and what they can do.
#include <algorithm>
#include <cstdio>

#include "tests/simt/cudart/limits.h"
#include "tests/simt/cudart/machine.h"

namespace sluice::simt {
namespace {

struct SharedMemory {
  int capability = 0;  // from this one on
  uint32_t kib_per_multiprocessor = 0, kib_per_block = 0;
  int threads = 0, blocks = 0;
};
constexpr SharedMemory kByCapability[] = {
    {75, 64, 64, 1024, 16},    {80, 164, 163, 2048, 32},  {86, 100, 99, 1536, 16},
    {87, 164, 163, 1536, 16},  {89, 100, 99, 1536, 24},   {90, 228, 227, 2048, 32},
    {100, 228, 227, 2048, 32}, {110, 228, 227, 1536, 24}, {120, 100, 99, 1536, 24},
};

const DeviceModel* model_of(Machine& m, int device) {
  if (device < 0 || device >= static_cast<int>(m.devices.size())) return nullptr;
  return &m.options.devices[static_cast<size_t>(device)];
}

}  // namespace

Limits limits_of(const DeviceModel& device) {
  const int capability = device.major * 10 + device.minor;
  SharedMemory found = kByCapability[0];
  for (const SharedMemory& entry : kByCapability) {
    if (capability >= entry.capability) found = entry;
  }
  Limits limits;
  limits.shared_per_multiprocessor = found.kib_per_multiprocessor * 1024;
  limits.shared_per_block_opt_in = found.kib_per_block * 1024;
  limits.reserved_shared_per_block = device.major >= 8 ? 1024 : 0;
  limits.threads_per_multiprocessor = found.threads;
  limits.blocks_per_multiprocessor = found.blocks;
  return limits;
}

}  // namespace sluice::simt

using namespace sluice::simt;

extern "C" {

cudaError_t cudaDriverGetVersion(int* version) {
  Call call("cudaDriverGetVersion", {.needs_driver = false, .works_on_dead_device = true});
  if (const cudaError_t error = call.refusal()) return error;
  if (version == nullptr) return call.done(cudaErrorInvalidValue);
  const GpuOptions& options = call.m().options;
  *version = options.driver == Driver::Missing  ? 0
             : options.driver == Driver::TooOld ? options.old_driver_version
                                                : options.driver_version;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  Call call("cudaRuntimeGetVersion", {.needs_driver = false, .works_on_dead_device = true});
  if (const cudaError_t error = call.refusal()) return error;
  if (version == nullptr) return call.done(cudaErrorInvalidValue);
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  Call call("cudaGetDeviceCount", {.works_on_dead_device = true});
  if (const cudaError_t error = call.refusal()) return error;
  if (count == nullptr) return call.done(cudaErrorInvalidValue);
  *count = static_cast<int>(call.m().devices.size());
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  Call call("cudaSetDevice", {.works_on_dead_device = true});
  if (const cudaError_t error = call.refusal()) return error;
  if (model_of(call.m(), device) == nullptr) return call.done(cudaErrorInvalidDevice);
  current_device() = device;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  Call call("cudaGetDevice", {.works_on_dead_device = true});
  if (const cudaError_t error = call.refusal()) return error;
  if (device == nullptr) return call.done(cudaErrorInvalidValue);
  *device = current_device();
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  Call call("cudaGetDeviceProperties", {.works_on_dead_device = true});
  if (const cudaError_t error = call.refusal()) return error;
  const DeviceModel* model = model_of(call.m(), device);
  if (model == nullptr) return call.done(cudaErrorInvalidDevice);
  if (properties == nullptr) return call.done(cudaErrorInvalidValue);
  const Limits limits = limits_of(*model);
  cudaDeviceProp p{};
  std::snprintf(p.name, sizeof p.name, "%s", model->name.c_str());
  p.uuid.bytes[0] = static_cast<char>(device + 1);
  p.totalGlobalMem = model->memory_bytes;
  p.sharedMemPerBlock = limits.shared_per_block;
  p.sharedMemPerBlockOptin = limits.shared_per_block_opt_in;
  p.sharedMemPerMultiprocessor = limits.shared_per_multiprocessor;
  p.reservedSharedMemPerBlock = limits.reserved_shared_per_block;
  p.regsPerBlock = 65536;
  p.regsPerMultiprocessor = 65536;
  p.warpSize = 32;
  p.memPitch = 2147483647;
  p.maxThreadsPerBlock = static_cast<int>(limits.threads_per_block);
  p.maxThreadsPerMultiProcessor = limits.threads_per_multiprocessor;
  p.maxBlocksPerMultiProcessor = limits.blocks_per_multiprocessor;
  const uint32_t block[] = {limits.block.x, limits.block.y, limits.block.z};
  const uint32_t grid[] = {limits.grid.x, limits.grid.y, limits.grid.z};
  for (int i = 0; i < 3; ++i) {
    p.maxThreadsDim[i] = static_cast<int>(block[i]);
    p.maxGridSize[i] = static_cast<int>(grid[i]);
  }
  p.totalConstMem = 65536;
  p.major = model->major;
  p.minor = model->minor;
  p.textureAlignment = 512;
  p.multiProcessorCount = model->n_multiprocessors;
  p.canMapHostMemory = 1;
  p.concurrentKernels = 1;
  p.pciBusID = device + 1;
  p.asyncEngineCount = 2;
  p.unifiedAddressing = 1;
  p.memoryBusWidth = 256;
  p.l2CacheSize = 4 << 20;
  p.streamPrioritiesSupported = 1;
  p.globalL1CacheSupported = 1;
  p.localL1CacheSupported = 1;
  p.computePreemptionSupported = 1;
  p.canUseHostPointerForRegisteredMem = 1;
  p.hostRegisterSupported = 1;
  *properties = p;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  Call call("cudaDeviceGetAttribute", {.works_on_dead_device = true});
  if (const cudaError_t error = call.refusal()) return error;
  const DeviceModel* model = model_of(call.m(), device);
  if (model == nullptr) return call.done(cudaErrorInvalidDevice);
  if (value == nullptr) return call.done(cudaErrorInvalidValue);
  const Limits limits = limits_of(*model);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = static_cast<int>(limits.threads_per_block);
      break;
    case cudaDevAttrMaxBlockDimX:
      *value = static_cast<int>(limits.block.x);
      break;
    case cudaDevAttrMaxBlockDimY:
      *value = static_cast<int>(limits.block.y);
      break;
    case cudaDevAttrMaxBlockDimZ:
      *value = static_cast<int>(limits.block.z);
      break;
    case cudaDevAttrMaxGridDimX:
      *value = static_cast<int>(limits.grid.x);
      break;
    case cudaDevAttrMaxGridDimY:
      *value = static_cast<int>(limits.grid.y);
      break;
    case cudaDevAttrMaxGridDimZ:
      *value = static_cast<int>(limits.grid.z);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(limits.shared_per_block);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(limits.shared_per_block_opt_in);
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(limits.shared_per_multiprocessor);
      break;
    case cudaDevAttrReservedSharedMemoryPerBlock:
      *value = static_cast<int>(limits.reserved_shared_per_block);
      break;
    case cudaDevAttrTotalConstantMemory:
      *value = 65536;
      break;
    case cudaDevAttrWarpSize:
      *value = 32;
      break;
    case cudaDevAttrMaxRegistersPerBlock:
    case cudaDevAttrMaxRegistersPerMultiprocessor:
      *value = 65536;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = model->n_multiprocessors;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = limits.threads_per_multiprocessor;
      break;
    case cudaDevAttrMaxBlocksPerMultiprocessor:
      *value = limits.blocks_per_multiprocessor;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = model->major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = model->minor;
      break;
    case cudaDevAttrL2CacheSize:
      *value = 4 << 20;
      break;
    case cudaDevAttrGlobalMemoryBusWidth:
      *value = 256;
      break;
    case cudaDevAttrMemoryClockRate:  // such that twice the clock times the width gives the bandwidth
      *value = static_cast<int>(model->device_bytes_per_second / (2 * 32) / 1e3);
      break;
    case cudaDevAttrClockRate:
      *value = 1500000;
      break;
    case cudaDevAttrAsyncEngineCount:
      *value = 2;
      break;
    case cudaDevAttrPciBusId:
      *value = device + 1;
      break;
    case cudaDevAttrCanMapHostMemory:
    case cudaDevAttrGpuOverlap:
    case cudaDevAttrConcurrentKernels:
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrStreamPrioritiesSupported:
    case cudaDevAttrComputePreemptionSupported:
    case cudaDevAttrCanUseHostPointerForRegisteredMem:
    case cudaDevAttrHostRegisterSupported:
      *value = 1;
      break;
    case cudaDevAttrIntegrated:
    case cudaDevAttrPciDeviceId:
    case cudaDevAttrPciDomainId:
    case cudaDevAttrComputeMode:
    case cudaDevAttrEccEnabled:
    case cudaDevAttrTccDriver:
    case cudaDevAttrKernelExecTimeout:
    case cudaDevAttrManagedMemory:
    case cudaDevAttrPageableMemoryAccess:
    case cudaDevAttrConcurrentManagedAccess:
    case cudaDevAttrHostNativeAtomicSupported:
    case cudaDevAttrCooperativeLaunch:
    case cudaDevAttrClusterLaunch:
    case cudaDevAttrMemoryPoolsSupported:
    case cudaDevAttrCanFlushRemoteWrites:
      *value = 0;
      break;
    default:
      return call.misuse(cudaErrorInvalidValue, "the emulation does not know attribute " + std::to_string(attribute));
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int* can_access, int device, int peer) {
  Call call("cudaDeviceCanAccessPeer", {.works_on_dead_device = true});
  if (const cudaError_t error = call.refusal()) return error;
  if (model_of(call.m(), device) == nullptr || model_of(call.m(), peer) == nullptr) {
    return call.done(cudaErrorInvalidDevice);
  }
  if (can_access == nullptr) return call.done(cudaErrorInvalidValue);
  *can_access = device != peer && call.m().options.peer_access ? 1 : 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags) {
  Call call("cudaDeviceEnablePeerAccess");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  if (model_of(m, peer) == nullptr || peer == current_device()) return call.done(cudaErrorInvalidDevice);
  if (flags != 0) return call.done(cudaErrorInvalidValue);
  if (!m.options.peer_access) return call.done(cudaErrorPeerAccessUnsupported);
  auto has = m.devices[static_cast<size_t>(current_device())].has_peer_access[static_cast<size_t>(peer)];
  if (has) return call.done(cudaErrorPeerAccessAlreadyEnabled);
  has = true;
  return cudaSuccess;
}

cudaError_t cudaDeviceDisablePeerAccess(int peer) {
  Call call("cudaDeviceDisablePeerAccess");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  if (model_of(m, peer) == nullptr) return call.done(cudaErrorInvalidDevice);
  auto has = m.devices[static_cast<size_t>(current_device())].has_peer_access[static_cast<size_t>(peer)];
  if (!has) return call.done(cudaErrorPeerAccessNotEnabled);
  has = false;
  return cudaSuccess;
}

cudaError_t cudaSetDeviceFlags(unsigned) {  // how threads wait: nothing here waits for long
  Call call("cudaSetDeviceFlags");
  return call.refusal();
}

}  // extern "C"
