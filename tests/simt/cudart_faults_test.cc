// Calls that fail because a test wants it, and launches that no device would take.
#include "tests/simt/cudart_fixture.h"

namespace sluice::simt {
namespace {

TEST_CASE("each kind of call fails when it was told to, and only then") {
  const FreshMachine machine;
  auto* device = device_memory<int32_t>(1);
  auto* pinned = pinned_memory<int32_t>(1);
  const cudaStream_t stream = new_stream();
  std::vector<std::byte> own(64);
  void* memory = nullptr;
  cudaStream_t another = nullptr;
  cudaEvent_t event = nullptr;
  OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  OK(cudaMemsetAsync(device, 0, 4, stream));
  cudaGraph_t graph = nullptr;
  OK(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t instantiated = nullptr;

  struct Case {
    FaultPoint point;
    cudaError_t error;
    std::function<cudaError_t()> call;
  };
  const Case cases[] = {
      {FaultPoint::Malloc, cudaErrorMemoryAllocation, [&] { return cudaMalloc(&memory, 4); }},
      {FaultPoint::HostAlloc, cudaErrorMemoryAllocation, [&] { return cudaHostAlloc(&memory, 4, 0); }},
      {FaultPoint::HostAlloc, cudaErrorMemoryAllocation, [&] { return cudaMallocHost(&memory, 4); }},
      {FaultPoint::HostRegister, cudaErrorMemoryAllocation,
       [&] {
         const cudaError_t error = cudaHostRegister(own.data(), 64, 0);
         if (error == cudaSuccess) OK(cudaHostUnregister(own.data()));
         return error;
       }},
      {FaultPoint::Copy, cudaErrorUnknown,
       [&] { return cudaMemcpyAsync(device, pinned, 4, cudaMemcpyHostToDevice, stream); }},
      {FaultPoint::Copy, cudaErrorUnknown, [&] { return cudaMemcpy(device, pinned, 4, cudaMemcpyHostToDevice); }},
      {FaultPoint::Launch, cudaErrorLaunchOutOfResources, [&] { return launch(Increment{}, stream); }},
      {FaultPoint::GraphInstantiate, cudaErrorMemoryAllocation,
       [&] { return cudaGraphInstantiate(&instantiated, graph, 0); }},
      {FaultPoint::StreamCreate, cudaErrorMemoryAllocation, [&] { return cudaStreamCreate(&another); }},
      {FaultPoint::EventCreate, cudaErrorMemoryAllocation, [&] { return cudaEventCreate(&event); }},
  };
  for (const Case& one : cases) {
    inject_fault({.point = one.point, .nth = 3, .error = one.error, .n_times = 2});
    for (int i = 1; i <= 6; ++i) {
      CAPTURE(i);
      CHECK(one.call() == (i == 3 || i == 4 ? one.error : cudaSuccess));
      CHECK(cudaGetLastError() == (i == 3 || i == 4 ? one.error : cudaSuccess));
    }
    OK(cudaDeviceSynchronize());
  }
}

TEST_CASE("a kernel that is told to kills its device, from there on") {
  const FreshMachine machine;
  inject_fault({.point = FaultPoint::KernelExecution, .nth = 2, .error = cudaErrorECCUncorrectable});
  OK(launch(Increment{}, nullptr));
  OK(cudaDeviceSynchronize());
  OK(launch(Increment{}, nullptr));
  CHECK(cudaDeviceSynchronize() == cudaErrorECCUncorrectable);
  CHECK(cudaPeekAtLastError() == cudaErrorECCUncorrectable);
  CHECK(launch(Increment{}, nullptr) == cudaErrorECCUncorrectable);
}

TEST_CASE("a device that died does no more of what it was given") {
  GpuOptions options;
  options.effects = Effects::Lazy;
  const FreshMachine machine(options);
  auto* mapped = pinned_memory<int32_t>(1);
  *mapped = 5;
  inject_fault({.point = FaultPoint::KernelExecution, .error = cudaErrorLaunchFailure});
  OK(launch(Increment{}, nullptr));
  OK(launch(Increment{mapped, 1, 1}, nullptr));
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  CHECK(*mapped == 5);
}

TEST_CASE("an error that was answered stays the thread's last one until it is asked for") {
  const FreshMachine machine;
  void* memory = nullptr;
  CHECK(cudaHostAlloc(&memory, 4, 99) == cudaErrorInvalidValue);
  OK(cudaMalloc(&memory, 4));
  CHECK(cudaPeekAtLastError() == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaSuccess);
}

TEST_CASE("grids, blocks and shared memory beyond what a device has are refused") {
  const FreshMachine machine;
  struct Case {
    dim3 grid, block;
    size_t shared;
    cudaError_t error;
  };
  const Case cases[] = {
      {1, 1024, 0, cudaSuccess},
      {1, 1025, 0, cudaErrorInvalidConfiguration},
      {1, dim3(32, 32, 2), 0, cudaErrorInvalidConfiguration},
      {1, dim3(1, 1, 64), 0, cudaSuccess},
      {1, dim3(1, 1, 65), 0, cudaErrorInvalidConfiguration},
      {1, 0, 0, cudaErrorInvalidConfiguration},
      {0, 1, 0, cudaErrorInvalidConfiguration},
      {dim3(1, 65535, 1), 1, 0, cudaSuccess},
      {dim3(1, 65536, 1), 1, 0, cudaErrorInvalidConfiguration},
      {dim3(1, 1, 65536), 1, 0, cudaErrorInvalidConfiguration},
      {2147483648u, 1, 0, cudaErrorInvalidConfiguration},
      // The kernel has 1 KiB of its own.
      {1, 1, 47 * 1024, cudaSuccess},
      {1, 1, 47 * 1024 + 1, cudaErrorInvalidValue},
  };
  for (const Case& one : cases) {
    CAPTURE(one.grid.y);
    CAPTURE(one.block.x);
    CHECK(launch(Increment{}, nullptr, one.grid, one.block, one.shared) == one.error);
    OK(cudaDeviceSynchronize());
  }
  int n_blocks = -1;
  const char nothing = 0;
  CHECK(cudaLaunchKernel(&nothing, 1, 1, nullptr, 0, nullptr) == cudaErrorInvalidDeviceFunction);
  CHECK(cudaFuncSetAttribute(&nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 1) ==
        cudaErrorInvalidDeviceFunction);
  CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&n_blocks, &nothing, 32, 0) == cudaErrorInvalidDeviceFunction);
  CHECK(cudaLaunchKernel(increment_symbol(), 1, 1, nullptr, 0, nullptr) == cudaErrorInvalidValue);
  cudaFuncAttributes attributes{};
  OK(cudaFuncGetAttributes(&attributes, increment_symbol()));
  CHECK(attributes.sharedSizeBytes == 1024);
  CHECK(attributes.maxDynamicSharedSizeBytes == 47 * 1024);
  CHECK(attributes.ptxVersion == chosen_architecture());
  OK(cudaFuncSetCacheConfig(increment_symbol(), cudaFuncCachePreferL1));
}

}  // namespace
}  // namespace sluice::simt
