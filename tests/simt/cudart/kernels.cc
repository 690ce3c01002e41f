// Kernels as objects compiled by nvcc register and launch them. What runs is the translated kernel of the same mangled name.
#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "tests/simt/cudart/limits.h"
#include "tests/simt/cudart/machine.h"
#include "tests/simt/runtime/findings.h"
#include "tests/simt/runtime/races.h"

namespace sluice::simt {
namespace {

struct Registry {
  std::mutex mutex;
  std::unordered_map<const void*, std::string> names;  // mangled, by the symbol on the host
};
Registry& registry() {
  static auto* const the_registry = new Registry;  // objects let go of their kernels after main
  return *the_registry;
}

std::string name_of(const void* function) {
  Registry& kernels = registry();
  const std::lock_guard<std::mutex> lock(kernels.mutex);
  const auto found = kernels.names.find(function);
  return found == kernels.names.end() ? std::string() : found->second;
}

struct FoundKernel {
  cudaError_t error = cudaSuccess;
  Kernel kernel;
};
FoundKernel find_by_symbol(const void* function) {
  const std::string name = name_of(function);
  if (name.empty()) return {cudaErrorInvalidDeviceFunction, {}};
  const Kernel* kernel = find_kernel(name);
  if (kernel != nullptr) return {cudaSuccess, *kernel};
  report_finding("misuse of the emulation: no translated kernel has the name " + name);
  return {cudaErrorNoKernelImageForDevice, {}};
}

const DeviceModel& current_model(const Machine& m) {
  return m.options.devices[static_cast<size_t>(current_device())];
}

uint32_t dynamic_shared_limit(const Machine& m, const void* function, const Kernel& kernel) {
  const Device& device = m.devices[static_cast<size_t>(current_device())];
  const auto raised = device.dynamic_shared_limits.find(function);
  if (raised != device.dynamic_shared_limits.end()) return static_cast<uint32_t>(raised->second);
  const uint32_t limit = limits_of(current_model(m)).shared_per_block;
  return limit - std::min(limit, kernel.static_shared_bytes);
}

bool fits(const Extent& extent, const Extent& limit) {
  return extent.x >= 1 && extent.y >= 1 && extent.z >= 1 && extent.x <= limit.x && extent.y <= limit.y &&
         extent.z <= limit.z;
}

// Grids run one at a time, whichever thread runs them.
std::mutex& grid_mutex() {
  static std::mutex mutex;
  return mutex;
}

struct Start {
  Kernel kernel;
  std::string name;
  Extent grid, block;
  uint32_t dynamic_shared_bytes = 0;
  std::vector<std::byte> parameters;
  int device = 0;
  bool wants_ranges = false;  // what it touches is to be measured

  KernelLaunch launch() const { return {name, grid, block, dynamic_shared_bytes, parameters, device}; }
};

cudaError_t run(const Start& start) {
  {
    Machine& m = machine();
    const Lock lock(m.mutex);
    if (const cudaError_t error = next_fault(m, FaultPoint::KernelExecution)) return error;
  }
  const std::lock_guard<std::mutex> lock(grid_mutex());
  const bool is_watched = grid_options().check && start.wants_ranges && start.kernel.module != nullptr;
  const GridResult result = run_grid(start.kernel, start.grid, start.block, start.dynamic_shared_bytes,
                                     start.parameters.data(), start.device);
  if (is_watched) {
    for (const TouchedRange& range : ranges_of_last_launch()) {
      effect_ranges().push_back(
          {reinterpret_cast<const std::byte*>(range.address), range.bytes, range.is_written, range.is_strong});
    }
  }
  return result == GridResult::Done ? cudaSuccess : cudaErrorIllegalAddress;
}

cudaError_t launch(Call& call, const void* function, dim3 grid, dim3 block, void** arguments, size_t shared_bytes,
                   cudaStream_t stream_handle) {
  Machine& m = call.m();
  const StreamPointer stream = find_stream(m, stream_handle);
  if (!stream || stream->device != current_device()) return call.done(cudaErrorInvalidResourceHandle);
  const FoundKernel found = find_by_symbol(function);
  if (found.error) return call.done(found.error);
  const Limits limits = limits_of(current_model(m));
  const Extent blocks{grid.x, grid.y, grid.z}, threads{block.x, block.y, block.z};
  if (!fits(blocks, limits.grid) || !fits(threads, limits.block) ||
      uint64_t{block.x} * block.y * block.z > limits.threads_per_block) {
    return call.done(cudaErrorInvalidConfiguration);
  }
  if (shared_bytes > dynamic_shared_limit(m, function, found.kernel)) return call.done(cudaErrorInvalidValue);
  if (arguments == nullptr && !found.kernel.parameters.empty()) return call.done(cudaErrorInvalidValue);
  if (const cudaError_t error = next_fault(m, FaultPoint::Launch)) return call.done(error);

  auto start = std::make_shared<Start>();
  start->kernel = found.kernel;
  start->name = found.kernel.name;
  start->grid = blocks;
  start->block = threads;
  start->dynamic_shared_bytes = static_cast<uint32_t>(shared_bytes);
  start->parameters.resize(std::max<size_t>(found.kernel.parameter_bytes, 1));
  start->device = stream->device;
  start->wants_ranges = m.options.check_races && !m.options.kernel_ranges;
  for (size_t i = 0; i < found.kernel.parameters.size(); ++i) {
    const Parameter& parameter = found.kernel.parameters[i];
    std::memcpy(start->parameters.data() + parameter.offset, arguments[i], parameter.bytes);
  }
  Work work;
  work.kind = WorkKind::Kernel;
  work.name = start->name;
  work.device = stream->device;
  work.engine = Engine::Compute;
  work.function = function;
  if (m.options.kernel_seconds && m.options.times_kernels_when_run)
    work.seconds_when_run = [start, &m] { return m.options.kernel_seconds(start->launch()); };
  else
    work.seconds =
        m.options.kernel_seconds ? m.options.kernel_seconds(start->launch()) : m.options.default_kernel_seconds;
  work.is_watched =
      !m.options.watched_kernel.empty() && start->name.find(m.options.watched_kernel) != std::string::npos;
  if (m.options.kernel_ranges) work.ranges = m.options.kernel_ranges(start->launch());
  work.effect = [start] { return run(*start); };
  const Added added = add_work(m, call.lock(), stream, m.options.launch_latency_seconds, std::move(work));
  return call.done(added.error);
}

struct Configuration {
  dim3 grid, block;
  size_t shared_bytes = 0;
  cudaStream_t stream = nullptr;
};
std::vector<Configuration>& configurations() {
  thread_local std::vector<Configuration> stack;
  return stack;
}

cudaError_t count_blocks(Call& call, int* n_blocks, const void* function, int block_threads, size_t shared_bytes) {
  Machine& m = call.m();
  const FoundKernel found = find_by_symbol(function);
  if (found.error) return call.done(found.error);
  if (n_blocks == nullptr || block_threads <= 0) return call.done(cudaErrorInvalidValue);
  const Limits limits = limits_of(current_model(m));
  if (static_cast<uint32_t>(block_threads) > limits.threads_per_block ||
      shared_bytes > dynamic_shared_limit(m, function, found.kernel)) {
    *n_blocks = 0;
    return cudaSuccess;
  }
  const int warps = (block_threads + 31) / 32;
  const uint64_t shared = shared_bytes + found.kernel.static_shared_bytes + limits.reserved_shared_per_block;
  int n = std::min(limits.blocks_per_multiprocessor, limits.threads_per_multiprocessor / 32 / warps);
  if (shared > 0)
    n = static_cast<int>(std::min<uint64_t>(static_cast<uint64_t>(n), limits.shared_per_multiprocessor / shared));
  *n_blocks = n;
  return cudaSuccess;
}

}  // namespace
}  // namespace sluice::simt

using namespace sluice::simt;

extern "C" {

// What nvcc's host code calls; no header for other compilers declares it.
void** __cudaRegisterFatBinary(void*);
void __cudaRegisterFatBinaryEnd(void**);
void __cudaUnregisterFatBinary(void**);
void __cudaRegisterFunction(void**, const char*, char*, const char*, int, uint3*, uint3*, dim3*, dim3*, int*);
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int);
char __cudaInitModule(void**);
unsigned __cudaPushCallConfiguration(dim3, dim3, size_t, struct CUstream_st*);
cudaError_t __cudaPopCallConfiguration(dim3*, dim3*, size_t*, void*);
cudaError_t __cudaGetKernel(cudaKernel_t*, const void*);
cudaError_t __cudaLaunchKernel(cudaKernel_t, dim3, dim3, void**, size_t, cudaStream_t);

void** __cudaRegisterFatBinary(void*) {
  static void* handle = nullptr;  // the code in it is for devices that are not there
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
char __cudaInitModule(void**) {
  return 1;
}
// Variables in device memory are the translated kernels' own; the runtime has no call here that reaches them.
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}

void __cudaRegisterFunction(void**, const char* host_function, char*, const char* device_name, int, uint3*, uint3*,
                            dim3*, dim3*, int*) {
  Registry& kernels = registry();
  const std::lock_guard<std::mutex> lock(kernels.mutex);
  kernels.names[host_function] = device_name;
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes, struct CUstream_st* stream) {
  configurations().push_back({grid, block, shared_bytes, stream});
  return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared_bytes, void* stream) {
  if (configurations().empty()) return cudaErrorMissingConfiguration;
  const Configuration configuration = configurations().back();
  configurations().pop_back();
  *grid = configuration.grid;
  *block = configuration.block;
  *shared_bytes = configuration.shared_bytes;
  *static_cast<cudaStream_t*>(stream) = configuration.stream;
  return cudaSuccess;
}

cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* host_function) {
  *kernel = static_cast<cudaKernel_t>(const_cast<void*>(host_function));
  return cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments, size_t shared_bytes,
                             cudaStream_t stream) {
  Call call("cudaLaunchKernel");
  if (const cudaError_t error = call.refusal()) return error;
  return launch(call, function, grid, block, arguments, shared_bytes, stream);
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, size_t shared_bytes,
                               cudaStream_t stream) {
  return cudaLaunchKernel(kernel, grid, block, arguments, shared_bytes, stream);
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  Call call("cudaFuncSetAttribute");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  const FoundKernel found = find_by_symbol(function);
  if (found.error) return call.done(found.error);
  if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) {
    return call.done(value >= -1 && value <= 100 ? cudaSuccess : cudaErrorInvalidValue);
  }
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) {
    return call.misuse(cudaErrorInvalidValue, "the emulation does not know attribute " + std::to_string(attribute));
  }
  const uint32_t most = limits_of(current_model(m)).shared_per_block_opt_in;
  if (value < 0 || uint64_t{static_cast<uint32_t>(value)} + found.kernel.static_shared_bytes > most) {
    return call.done(cudaErrorInvalidValue);
  }
  m.devices[static_cast<size_t>(current_device())].dynamic_shared_limits[function] = value;
  return cudaSuccess;
}

cudaError_t cudaFuncSetCacheConfig(const void* function, cudaFuncCache) {
  Call call("cudaFuncSetCacheConfig");
  if (const cudaError_t error = call.refusal()) return error;
  return call.done(find_by_symbol(function).error);
}

// Registers and local memory are not known of translated kernels: 0.
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* function) {
  Call call("cudaFuncGetAttributes");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  if (attributes == nullptr) return call.done(cudaErrorInvalidValue);
  const FoundKernel found = find_by_symbol(function);
  if (found.error) return call.done(found.error);
  const DeviceModel& model = current_model(m);
  *attributes = {};
  attributes->sharedSizeBytes = found.kernel.static_shared_bytes;
  attributes->maxThreadsPerBlock = static_cast<int>(limits_of(model).threads_per_block);
  attributes->maxDynamicSharedSizeBytes = static_cast<int>(dynamic_shared_limit(m, function, found.kernel));
  attributes->ptxVersion = attributes->binaryVersion = chosen_architecture();
  attributes->preferredShmemCarveout = -1;
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* n_blocks, const void* function, int block_threads,
                                                          size_t shared_bytes) {
  Call call("cudaOccupancyMaxActiveBlocksPerMultiprocessor");
  if (const cudaError_t error = call.refusal()) return error;
  return count_blocks(call, n_blocks, function, block_threads, shared_bytes);
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* n_blocks, const void* function,
                                                                   int block_threads, size_t shared_bytes, unsigned) {
  Call call("cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags");
  if (const cudaError_t error = call.refusal()) return error;
  return count_blocks(call, n_blocks, function, block_threads, shared_bytes);
}

}  // extern "C"
