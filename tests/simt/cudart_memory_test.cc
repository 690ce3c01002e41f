#include <cstring>
#include <numeric>

#include "tests/simt/cudart_fixture.h"

namespace sluice::simt {
namespace {

const Effects kAllEffects[] = {Effects::Eager, Effects::Lazy, Effects::Seeded};

TEST_CASE(
    "the memory of a device is as large as its model says, in steps of 512 bytes, and comes back when it is freed") {
  GpuOptions options;
  options.devices[0].memory_bytes = 1 << 20;
  options.devices[0].context_bytes = 1 << 18;
  const FreshMachine machine(options);
  size_t n_free = 0, n_total = 0;
  OK(cudaMemGetInfo(&n_free, &n_total));
  CHECK(n_total == 1 << 20);
  CHECK(n_free == (1 << 20) - (1 << 18));
  auto* small = device_memory<std::byte>(513);
  OK(cudaMemGetInfo(&n_free, &n_total));
  CHECK(n_free == (1 << 20) - (1 << 18) - 1024);
  void* large = &n_free;
  CHECK(cudaMalloc(&large, n_free + 1) == cudaErrorMemoryAllocation);
  CHECK(large == &n_free);  // untouched
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaSuccess);
  OK(cudaMalloc(&large, n_free));
  OK(cudaFree(large));
  OK(cudaFree(small));
  OK(cudaMemGetInfo(&n_free, &n_total));
  CHECK(n_free == (1 << 20) - (1 << 18));
  CHECK(cudaMalloc(&large, SIZE_MAX) == cudaErrorMemoryAllocation);
  OK(cudaMalloc(&large, 0));
  CHECK(large == nullptr);
  OK(cudaFree(nullptr));
}

TEST_CASE("bytes go to the device, inside it and back, in each order of effects") {
  for (const Effects effects : kAllEffects) {
    GpuOptions options;
    options.effects = effects;
    const FreshMachine machine(options);
    const cudaStream_t stream = new_stream();
    auto* host = pinned_memory<int32_t>(100);
    auto* one = device_memory<int32_t>(100);
    auto* two = device_memory<int32_t>(100);
    std::iota(host, host + 100, 0);
    OK(cudaMemcpyAsync(one, host, 400, cudaMemcpyHostToDevice, stream));
    OK(launch(Increment{one, 100, 1000}, stream));
    OK(cudaMemcpyAsync(two, one, 400, cudaMemcpyDefault, stream));
    OK(cudaMemsetAsync(two + 50, 0xFF, 4, stream));
    OK(cudaMemcpyAsync(host, two, 400, cudaMemcpyDeviceToHost, stream));
    OK(cudaStreamSynchronize(stream));
    for (int i = 0; i < 100; ++i) CHECK(host[i] == (i == 50 ? -1 : 1000 + i));
  }
}

TEST_CASE("rows of a pitch are copied without what lies between them") {
  const FreshMachine machine;
  auto* host = pinned_memory<uint8_t>(30);
  auto* device = device_memory<uint8_t>(20);
  std::iota(host, host + 30, 0);
  OK(cudaMemset(device, 0xEE, 20));
  OK(cudaMemcpy2DAsync(device, 7, host, 10, 5, 3, cudaMemcpyHostToDevice, nullptr));
  uint8_t back[20];
  OK(cudaMemcpy(back, device, 19, cudaMemcpyDeviceToHost));
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 5; ++column) CHECK(back[row * 7 + column] == row * 10 + column);
  }
  CHECK(back[5] == 0xEE);
  CHECK(back[6] == 0xEE);
  CHECK(cudaMemcpy2DAsync(device, 4, host, 10, 5, 3, cudaMemcpyHostToDevice, nullptr) == cudaErrorInvalidPitchValue);
  // The last row would end one byte behind the memory.
  CHECK(cudaMemcpy2DAsync(device, 8, host, 10, 5, 3, cudaMemcpyHostToDevice, nullptr) == cudaErrorInvalidValue);
  expect_finding("reach past the end of device memory of 20 bytes");
}

TEST_CASE("copies past the end, of the wrong kind, and of memory that was freed are refused and reported") {
  const FreshMachine machine;
  auto* host = pinned_memory<std::byte>(64);
  auto* device = device_memory<std::byte>(64);
  std::byte pageable[128] = {};
  const auto copy = [](void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
  };
  CHECK(copy(device, pageable, 65, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  expect_finding("the target: 65 bytes reach past the end of device memory of 64 bytes");
  CHECK(copy(device + 1, host, 64, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  expect_finding("the target");
  CHECK(copy(host, device + 63, 2, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  expect_finding("the source");
  CHECK(copy(device, host, 64, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  expect_finding("kind of copy");
  CHECK(copy(pageable, host, 64, cudaMemcpyDeviceToDevice) == cudaErrorInvalidValue);
  expect_finding("kind of copy");
  CHECK(copy(device, host, 64, static_cast<cudaMemcpyKind>(7)) == cudaErrorInvalidMemcpyDirection);
  CHECK(copy(nullptr, host, 64, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(copy(nullptr, host, 0, cudaMemcpyHostToDevice) == cudaSuccess);
  CHECK(cudaMemsetAsync(device + 60, 0, 5, nullptr) == cudaErrorInvalidValue);
  expect_finding("reach past the end");
  CHECK(cudaMemset(pageable, 0, 5) == cudaErrorInvalidValue);
  expect_finding("no device can reach");
  OK(cudaFree(device));
  CHECK(copy(device, host, 64, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  expect_finding("memory that was freed");
  CHECK(copy(host, device + 8, 4, cudaMemcpyDefault) == cudaErrorInvalidValue);
  expect_finding("memory that was freed");
}

TEST_CASE("memory is freed once, by the call that belongs to it, at its first byte") {
  const FreshMachine machine;
  auto* device = device_memory<std::byte>(64);
  auto* pinned = pinned_memory<std::byte>(64);
  CHECK(cudaFree(device + 1) == cudaErrorInvalidValue);
  expect_finding("not what cudaMalloc gave out");
  CHECK(cudaFree(pinned) == cudaErrorInvalidValue);
  expect_finding("not what cudaMalloc gave out");
  CHECK(cudaFreeHost(device) == cudaErrorInvalidValue);
  expect_finding("not what cudaHostAlloc gave out");
  OK(cudaFree(device));
  CHECK(cudaFree(device) == cudaErrorInvalidValue);
  expect_finding("freed before");
  OK(cudaFreeHost(pinned));
  CHECK(cudaFreeHost(pinned) == cudaErrorInvalidValue);
  expect_finding("freed before");
}

TEST_CASE("cudaFree waits for what still uses the device") {
  GpuOptions options;
  options.effects = Effects::Lazy;
  const FreshMachine machine(options);
  const cudaStream_t stream = new_stream();
  auto* device = device_memory<int32_t>(1);
  auto* other = device_memory<int32_t>(1);
  auto* host = pinned_memory<int32_t>(1);
  *host = 0;
  OK(cudaMemsetAsync(device, 0, 4, stream));
  OK(launch(Increment{device, 1, 7}, stream));
  OK(cudaMemcpyAsync(host, device, 4, cudaMemcpyDeviceToHost, stream));
  CHECK(*host == 0);
  OK(cudaFree(other));
  CHECK(*host == 7);
}

TEST_CASE("pinned memory is mapped, and memory of others can be registered once and let go") {
  const FreshMachine machine;
  auto* pinned = pinned_memory<std::byte>(64);
  void* mapped = nullptr;
  OK(cudaHostGetDevicePointer(&mapped, pinned + 8, 0));
  CHECK(mapped == pinned + 8);
  cudaPointerAttributes attributes{};
  OK(cudaPointerGetAttributes(&attributes, pinned + 63));
  CHECK(attributes.type == cudaMemoryTypeHost);
  CHECK(attributes.hostPointer == pinned + 63);
  auto* device = device_memory<std::byte>(64);
  OK(cudaPointerGetAttributes(&attributes, device));
  CHECK(attributes.type == cudaMemoryTypeDevice);
  CHECK(attributes.devicePointer == device);
  CHECK(attributes.hostPointer == nullptr);
  CHECK(cudaHostGetDevicePointer(&mapped, device, 0) == cudaErrorInvalidValue);

  std::vector<std::byte> own(4096);
  OK(cudaPointerGetAttributes(&attributes, own.data()));
  CHECK(attributes.type == cudaMemoryTypeUnregistered);
  CHECK(cudaHostGetDevicePointer(&mapped, own.data(), 0) == cudaErrorInvalidValue);
  OK(cudaHostRegister(own.data(), 4096, cudaHostRegisterPortable));
  OK(cudaPointerGetAttributes(&attributes, own.data() + 4095));
  CHECK(attributes.type == cudaMemoryTypeHost);
  CHECK(cudaHostRegister(own.data() + 100, 10, 0) == cudaErrorHostMemoryAlreadyRegistered);
  CHECK(cudaHostRegister(pinned, 10, 0) == cudaErrorHostMemoryAlreadyRegistered);
  OK(cudaHostUnregister(own.data()));
  CHECK(cudaHostUnregister(own.data()) == cudaErrorHostMemoryNotRegistered);
  expect_finding("not what was registered");
  void* memory = nullptr;
  CHECK(cudaHostAlloc(&memory, 64, 0x80) == cudaErrorInvalidValue);
  OK(cudaHostAlloc(&memory, 64, cudaHostAllocPortable | cudaHostAllocWriteCombined));
  OK(cudaMallocHost(&memory, 64));
}

TEST_CASE("a kernel writes mapped memory that the host reads after waiting") {
  const FreshMachine machine;
  auto* mapped = pinned_memory<int32_t>(3);
  for (int i = 0; i < 3; ++i) mapped[i] = i;
  OK(launch(Increment{mapped, 3, 40}, nullptr));
  OK(cudaDeviceSynchronize());
  CHECK(mapped[2] == 42);
}

TEST_CASE(
    "asynchronous copies of pageable memory are noted, take the bytes at once, and bring them before they return") {
  GpuOptions options;
  options.effects = Effects::Lazy;
  const FreshMachine machine(options);
  const cudaStream_t stream = new_stream();
  auto* device = device_memory<int32_t>(1);
  int32_t pageable = 5;
  OK(cudaMemcpyAsync(device, &pageable, 4, cudaMemcpyHostToDevice, stream));
  pageable = 6;  // its old value is on the way
  int32_t back = 0;
  OK(cudaMemcpyAsync(&back, device, 4, cudaMemcpyDeviceToHost, stream));
  CHECK(back == 5);  // without a synchronisation
  CHECK(take_performance_notes().size() == 2);
  auto* pinned = pinned_memory<int32_t>(1);
  OK(cudaMemcpyAsync(pinned, device, 4, cudaMemcpyDeviceToHost, stream));
  OK(cudaMemcpy(&back, device, 4, cudaMemcpyDeviceToHost));  // synchronous, and so no note
  OK(cudaStreamSynchronize(stream));
  CHECK(take_performance_notes().empty());
}

TEST_CASE("what is still there in the end is told") {
  const FreshMachine machine;
  auto* device = device_memory<std::byte>(10);
  report_leaks();
  expect_finding("leak: 10 bytes of device memory");
  OK(cudaFree(device));
  const cudaStream_t stream = new_stream();
  report_leaks();
  expect_finding("leak: 1 streams");
  OK(cudaStreamDestroy(stream));
  const cudaEvent_t event = new_event();
  report_leaks();
  expect_finding("leak: 1 events");
  OK(cudaEventDestroy(event));
  report_leaks();
}

}  // namespace
}  // namespace sluice::simt
