#include <stdexcept>

#include "tests/simt/cudart_fixture.h"

namespace sluice::simt {
namespace {

TEST_CASE(
    "without a driver, with an old one and without a device, the count of devices is refused and left as it was") {
  struct Mode {
    Driver driver;
    cudaError_t error;
    int driver_version;
  };
  for (const Mode& mode :
       {Mode{Driver::Missing, cudaErrorInsufficientDriver, 0}, Mode{Driver::TooOld, cudaErrorInsufficientDriver, 11080},
        Mode{Driver::NoDevice, cudaErrorNoDevice, 13000}}) {
    GpuOptions options;
    options.driver = mode.driver;
    const FreshMachine machine(options);
    int count = -7, version = -7;
    CHECK(cudaGetDeviceCount(&count) == mode.error);
    CHECK(count == -7);
    CHECK(cudaGetLastError() == mode.error);
    OK(cudaDriverGetVersion(&version));
    CHECK(version == mode.driver_version);
    OK(cudaRuntimeGetVersion(&version));
    CHECK(version == CUDART_VERSION);
    void* memory = nullptr;
    CHECK(cudaMalloc(&memory, 4) == mode.error);
    CHECK(cudaSetDevice(0) == mode.error);
    CHECK(launch(Increment{}, nullptr) == mode.error);
    CHECK(cudaDeviceSynchronize() == mode.error);
  }
  const FreshMachine machine;
  int count = 0;
  OK(cudaGetDeviceCount(&count));
  CHECK(count == 1);
}

TEST_CASE("a device's properties and attributes are those of its model and its architecture") {
  GpuOptions options;
  options.devices[0] = {
      .name = "Half of a card", .major = 8, .minor = 9, .n_multiprocessors = 64, .memory_bytes = uint64_t{5} << 30};
  const FreshMachine machine(options);
  cudaDeviceProp properties{};
  OK(cudaGetDeviceProperties(&properties, 0));
  CHECK(std::string(properties.name) == "Half of a card");
  CHECK(properties.major * 10 + properties.minor == 89);
  CHECK(properties.totalGlobalMem == uint64_t{5} << 30);
  CHECK(properties.sharedMemPerBlockOptin == 99 * 1024);
  CHECK(properties.asyncEngineCount == 2);
  const std::pair<cudaDeviceAttr, int> attributes[] = {
      {cudaDevAttrComputeCapabilityMajor, 8},
      {cudaDevAttrComputeCapabilityMinor, 9},
      {cudaDevAttrMultiProcessorCount, 64},
      {cudaDevAttrMaxSharedMemoryPerBlock, 48 * 1024},
      {cudaDevAttrMaxSharedMemoryPerBlockOptin, 99 * 1024},
      {cudaDevAttrMaxSharedMemoryPerMultiprocessor, 100 * 1024},
      {cudaDevAttrMaxThreadsPerMultiProcessor, 1536},
      {cudaDevAttrWarpSize, 32},
  };
  for (const auto& [attribute, expected] : attributes) {
    int value = -1;
    OK(cudaDeviceGetAttribute(&value, attribute, 0));
    CHECK(value == expected);
  }
  int value = -1;
  CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrWarpSize, 1) == cudaErrorInvalidDevice);
  CHECK(cudaGetDeviceProperties(&properties, -1) == cudaErrorInvalidDevice);
  CHECK(cudaSetDevice(1) == cudaErrorInvalidDevice);
  CHECK(value == -1);
}

TEST_CASE("errors have names and sentences") {
  CHECK(std::string(cudaGetErrorName(cudaErrorMemoryAllocation)) == "cudaErrorMemoryAllocation");
  CHECK(std::string(cudaGetErrorString(cudaErrorMemoryAllocation)) == "out of memory");
  CHECK(std::string(cudaGetErrorName(cudaSuccess)) == "cudaSuccess");
  CHECK(std::string(cudaGetErrorName(static_cast<cudaError_t>(12345))) == "unrecognized error code");
}

struct TwoDevices {
  int32_t* on[2];
  cudaStream_t streams[2];

  TwoDevices() {
    for (int i = 0; i < 2; ++i) {
      OK(cudaSetDevice(i));
      on[i] = device_memory<int32_t>(1000);
      streams[i] = new_stream();
      OK(cudaMemsetAsync(on[i], 0, 4000, streams[i]));
      OK(cudaStreamSynchronize(streams[i]));
    }
    OK(cudaSetDevice(0));
  }
};

TEST_CASE("two devices have memory, streams and engines of their own, and events between them") {
  GpuOptions options;
  options.devices.resize(2);
  options.devices[1].memory_bytes = 1 << 20;
  options.default_kernel_seconds = 1;
  options.call_seconds = options.launch_latency_seconds = options.copy_latency_seconds = 0;
  options.effects = Effects::Lazy;
  const FreshMachine machine(options);
  const TwoDevices two;
  size_t n_free = 0, n_total = 0;
  OK(cudaMemGetInfo(&n_free, &n_total));
  CHECK(n_total == options.devices[0].memory_bytes);
  OK(cudaSetDevice(1));
  OK(cudaMemGetInfo(&n_free, &n_total));
  CHECK(n_total == 1 << 20);
  CHECK(n_free == (1 << 20) - 4096);

  const double begin = host_seconds();
  OK(launch(Increment{two.on[1], 1, 5}, two.streams[1]));
  CHECK(launch(Increment{two.on[0], 1, 5}, two.streams[0]) == cudaErrorInvalidResourceHandle);  // another device's
  OK(cudaSetDevice(0));
  OK(launch(Increment{two.on[0], 1, 6}, two.streams[0]));
  const cudaEvent_t done = new_event();
  OK(cudaEventRecord(done, two.streams[0]));
  CHECK(cudaEventRecord(done, two.streams[1]) == cudaErrorInvalidResourceHandle);
  OK(cudaStreamWaitEvent(two.streams[1], done, 0));
  OK(cudaSetDevice(1));
  OK(launch(Increment{two.on[1], 1, 50}, two.streams[1]));
  OK(cudaStreamSynchronize(two.streams[1]));
  CHECK(host_seconds() - begin == doctest::Approx(2));  // two of three kernels beside each other
  int32_t values[2];
  for (int i = 0; i < 2; ++i) OK(cudaMemcpy(&values[i], two.on[i], 4, cudaMemcpyDeviceToHost));
  CHECK(values[0] == 6);
  CHECK(values[1] == 55);
}

TEST_CASE("copies between devices take the bus, twice where the devices cannot reach each other") {
  GpuOptions options;
  options.devices.resize(2);
  for (DeviceModel& device : options.devices) {
    device.device_to_host_bytes_per_second = 4000;
    device.host_to_device_bytes_per_second = 2000;
  }
  options.call_seconds = options.copy_latency_seconds = options.launch_latency_seconds = 0;
  const FreshMachine machine(options);
  const TwoDevices two;
  int can_access = -1;
  OK(cudaDeviceCanAccessPeer(&can_access, 0, 1));
  CHECK(can_access == 1);
  OK(cudaDeviceCanAccessPeer(&can_access, 1, 1));
  CHECK(can_access == 0);
  OK(launch(Increment{two.on[0], 1000, 9}, two.streams[0]));
  const double before = host_seconds();
  OK(cudaMemcpyPeerAsync(two.on[1], 1, two.on[0], 0, 4000, two.streams[0]));
  OK(cudaStreamSynchronize(two.streams[0]));
  CHECK(host_seconds() - before == doctest::Approx(3).epsilon(0.001));  // 1 s to the host, 2 s from there
  OK(cudaDeviceEnablePeerAccess(1, 0));
  CHECK(cudaDeviceEnablePeerAccess(1, 0) == cudaErrorPeerAccessAlreadyEnabled);
  const double after = host_seconds();
  OK(cudaMemcpyPeerAsync(two.on[1], 1, two.on[0], 0, 4000, two.streams[0]));
  OK(cudaStreamSynchronize(two.streams[0]));
  CHECK(host_seconds() - after == doctest::Approx(2));
  int32_t value = 0;
  OK(cudaMemcpyAsync(&value, two.on[1] + 999, 4, cudaMemcpyDeviceToHost, two.streams[0]));
  CHECK(value == 9);
  CHECK(cudaMemcpyPeerAsync(two.on[1], 0, two.on[0], 0, 4, two.streams[0]) == cudaErrorInvalidValue);
  expect_finding("lies on another device");
  OK(cudaDeviceDisablePeerAccess(1));
  CHECK(cudaDeviceDisablePeerAccess(1) == cudaErrorPeerAccessNotEnabled);

  GpuOptions apart = options;
  apart.peer_access = false;
  reset_emulated_gpu(apart);
  OK(cudaDeviceCanAccessPeer(&can_access, 0, 1));
  CHECK(can_access == 0);
  CHECK(cudaDeviceEnablePeerAccess(1, 0) == cudaErrorPeerAccessUnsupported);
}

TEST_CASE("a machine has one to four devices") {
  const FreshMachine machine;
  GpuOptions options;
  options.devices.resize(5);
  CHECK_THROWS_WITH(reset_emulated_gpu(options), "the emulated machine has 1 to 4 devices, not 5");
  options.devices.clear();
  CHECK_THROWS_AS(reset_emulated_gpu(options), std::invalid_argument);
  int count = 0;
  OK(cudaGetDeviceCount(&count));  // still the one before
  CHECK(count == 1);
}

}  // namespace
}  // namespace sluice::simt
