// Host code and kernels that nvcc compiled, linked with the emulated runtime.
#include <numeric>

#include "tests/simt/cudart_fixture.h"
#include "tests/simt/kernels/launches.h"

namespace sluice::simt {
namespace {

TEST_CASE("what nvcc compiled starts its translated kernels, of each architecture, in each order of effects") {
  for (const int architecture : {75, 80}) {
    for (const Effects effects : {Effects::Eager, Effects::Lazy, Effects::Seeded}) {
      GpuOptions options;
      options.effects = effects;
      const FreshMachine machine(options);
      choose_architecture(architecture);
      constexpr int64_t n = 64;
      auto* host = pinned_memory<float>(n);
      auto* device = device_memory<float>(n);
      const cudaStream_t stream = new_stream();
      std::iota(host, host + n, 0.0f);
      OK(cudaMemcpyAsync(device, host, n * 4, cudaMemcpyHostToDevice, stream));
      OK(scale_with_chevrons(device, n - 1, 2.0f, stream));
      OK(add_three(device, n - 1, stream));
      OK(reverse_in_blocks(device, n, 128, stream));
      OK(cudaMemcpyAsync(host, device, n * 4, cudaMemcpyDeviceToHost, stream));
      OK(cudaStreamSynchronize(stream));
      for (int64_t i = 0; i < n; ++i) {
        const int64_t from = i / 32 * 32 + 31 - i % 32;
        CHECK(host[i] == (from == n - 1 ? 63.0f : 2.0f * static_cast<float>(from) + 3.0f));
      }
    }
  }
}

TEST_CASE("a captured kernel reads what lies in device memory when its graph is launched") {
  const FreshMachine machine;
  auto* device = device_memory<float>(1);
  auto* host = pinned_memory<float>(1);
  const cudaStream_t stream = new_stream();
  OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  OK(cudaMemcpyAsync(device, host, 4, cudaMemcpyHostToDevice, stream));
  OK(scale_with_chevrons(device, 1, 2.0f, stream));
  OK(add_three(device, 1, stream));
  OK(cudaMemcpyAsync(host, device, 4, cudaMemcpyDeviceToHost, stream));
  cudaGraph_t graph = nullptr;
  OK(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t instantiated = nullptr;
  OK(cudaGraphInstantiate(&instantiated, graph, 0));
  for (const float value : {1.0f, 10.0f, -4.0f}) {
    *host = value;
    OK(cudaGraphLaunch(instantiated, stream));
    OK(cudaStreamSynchronize(stream));
    CHECK(*host == 2 * value + 3);
  }
}

TEST_CASE("more dynamic shared memory than 48 KiB must be asked for, up to what the architecture has") {
  for (const auto& [major, minor, most] : {std::tuple{7, 5, 64}, std::tuple{8, 0, 163}, std::tuple{8, 6, 99}}) {
    GpuOptions options;
    options.devices[0].major = major;
    options.devices[0].minor = minor;
    const FreshMachine machine(options);
    auto* device = device_memory<float>(32);
    OK(cudaMemset(device, 0, 128));
    OK(reverse_in_blocks(device, 32, 48 * 1024, nullptr));
    CHECK(reverse_in_blocks(device, 32, 48 * 1024 + 4, nullptr) == cudaErrorInvalidValue);
    CHECK(allow_shared_bytes(most * 1024 + 1) == cudaErrorInvalidValue);
    CHECK(allow_shared_bytes(-1) == cudaErrorInvalidValue);
    OK(allow_shared_bytes(most * 1024));
    cudaGetLastError();
    OK(reverse_in_blocks(device, 32, static_cast<size_t>(most) * 1024, nullptr));
    CHECK(reverse_in_blocks(device, 32, static_cast<size_t>(most) * 1024 + 4, nullptr) == cudaErrorInvalidValue);
    OK(cudaDeviceSynchronize());
  }
}

TEST_CASE("how many blocks fit a multiprocessor follows from their threads and shared memory") {
  const FreshMachine machine;  // 8.0: 2048 threads, 32 blocks, 164 KiB
  int n = 0;
  OK(count_reversing_blocks(&n, 32, 128));
  CHECK(n == 32);
  OK(count_reversing_blocks(&n, 1024, 128));
  CHECK(n == 2);
  OK(count_reversing_blocks(&n, 33, 40 * 1024));  // 41 KiB with what the driver keeps
  CHECK(n == 4);
  OK(count_reversing_blocks(&n, 32, 100 * 1024));  // cannot be launched
  CHECK(n == 0);
}

TEST_CASE("a kernel that died leaves its error on the device, for every call after it") {
  GpuOptions options;
  options.effects = Effects::Lazy;
  options.devices.resize(2);
  const FreshMachine machine(options);
  auto* device = device_memory<float>(64);
  OK(cudaMemset(device, 0, 256));
  OK(overrun_by_one(device, 64, nullptr));  // found out later
  OK(scale_with_chevrons(device, 64, 2.0f, nullptr));
  CHECK(cudaDeviceSynchronize() == cudaErrorIllegalAddress);
  expect_finding("out of bounds");
  CHECK(cudaGetLastError() == cudaErrorIllegalAddress);
  CHECK(cudaGetLastError() == cudaErrorIllegalAddress);
  CHECK(scale_with_chevrons(device, 64, 2.0f, nullptr) == cudaErrorIllegalAddress);
  void* memory = nullptr;
  CHECK(cudaMalloc(&memory, 4) == cudaErrorIllegalAddress);
  CHECK(cudaFree(device) == cudaErrorIllegalAddress);
  OK(cudaSetDevice(1));  // the other one lives
  OK(cudaMalloc(&memory, 4));
  OK(cudaDeviceSynchronize());
}

TEST_CASE("what kernels were seen to touch finds streams that race, and lets neighbours be") {
  const FreshMachine machine;
  auto* values = device_memory<float>(64);
  OK(cudaMemset(values, 0, 256));
  OK(cudaDeviceSynchronize());
  const cudaStream_t one = new_stream(), two = new_stream();
  OK(scale_with_chevrons(values, 32, 2.0f, one));
  OK(add_three(values + 32, 32, two));  // begins where the other ends
  OK(cudaDeviceSynchronize());
  CHECK(take_findings().empty());
  OK(scale_with_chevrons(values, 33, 2.0f, one));
  OK(add_three(values + 32, 32, two));
  OK(cudaDeviceSynchronize());
  expect_finding("stream race: ");
  const cudaEvent_t event = new_event();
  OK(scale_with_chevrons(values, 33, 2.0f, one));
  OK(cudaEventRecord(event, one));
  OK(cudaStreamWaitEvent(two, event, 0));
  OK(add_three(values + 32, 32, two));

  OK(cudaDeviceSynchronize());
  OK(count_values(values + 32, 8, reinterpret_cast<unsigned*>(values), one));
  OK(count_values(values + 48, 8, reinterpret_cast<unsigned*>(values), two));  // atomic accesses do not race
  OK(cudaDeviceSynchronize());
}

}  // namespace
}  // namespace sluice::simt
