#include <atomic>
#include <thread>

#include "tests/simt/cudart_fixture.h"

namespace sluice::simt {
namespace {

GpuOptions lazy() {
  GpuOptions options;
  options.effects = Effects::Lazy;
  options.goes_on_after_seconds = 0;
  options.kernel_ranges = ranges_of_test_kernels;
  return options;
}

struct Number {
  int32_t* device = device_memory<int32_t>(1);
  int32_t* host = pinned_memory<int32_t>(1);

  explicit Number(int32_t value) {
    *host = value;
    OK(cudaMemcpy(device, host, 4, cudaMemcpyHostToDevice));
  }
  int32_t fetch() const {
    int32_t value = 0;
    OK(cudaMemcpy(&value, device, 4, cudaMemcpyDeviceToHost));
    return value;
  }
};

TEST_CASE("a stream waits for another one's event, and for the last record of it") {
  const FreshMachine machine(lazy());
  const Number number(1);
  const cudaStream_t one = new_stream(), two = new_stream();
  const cudaEvent_t event = new_event(cudaEventDisableTiming);
  OK(cudaStreamWaitEvent(two, event, 0));  // never recorded: nothing to wait for
  OK(cudaEventRecord(event, one));
  OK(launch(Increment{number.device, 1, 10}, one));
  OK(cudaEventRecord(event, one));
  OK(cudaStreamWaitEvent(two, event, 0));
  OK(cudaMemcpyAsync(number.host, number.device, 4, cudaMemcpyDeviceToHost, two));
  OK(cudaStreamSynchronize(two));
  CHECK(*number.host == 11);
  CHECK(cudaEventQuery(event) == cudaSuccess);
}

TEST_CASE("streams without the flag follow the legacy default stream and are followed by it") {
  const FreshMachine machine(lazy());
  const Number number(1);
  cudaStream_t blocking = nullptr;
  OK(cudaStreamCreate(&blocking));
  OK(launch(Increment{number.device, 1, 10}, blocking));
  OK(launch(Increment{number.device, 1, 100}, nullptr));
  OK(launch(Increment{number.device, 1, 1000}, blocking));
  CHECK(number.fetch() == 1111);
}

TEST_CASE("a stream with the flag that relies on the legacy default stream is a race") {
  const FreshMachine machine(lazy());
  const Number number(1);
  const cudaStream_t stream = new_stream(cudaStreamNonBlocking);
  OK(cudaMemset(number.device, 0, 4));  // asynchronous, whatever its name says
  OK(launch(Increment{number.device, 1, 10}, stream));
  OK(cudaDeviceSynchronize());
  expect_finding("stream race");
}

TEST_CASE("a synchronous copy from pageable memory returns when the bytes are taken, not when they are there") {
  const FreshMachine machine(lazy());
  auto* device = device_memory<int32_t>(1);
  const cudaStream_t stream = new_stream(cudaStreamNonBlocking);
  const int32_t pageable = 5;
  OK(cudaMemcpy(device, &pageable, 4, cudaMemcpyHostToDevice));
  OK(launch(Increment{device, 1, 10}, stream));  // does not follow the default stream
  OK(cudaDeviceSynchronize());
  expect_finding("stream race");
  OK(cudaMemcpy(device, &pageable, 4, cudaMemcpyHostToDevice));
  OK(cudaStreamSynchronize(nullptr));
  OK(launch(Increment{device, 1, 10}, stream));
  OK(cudaStreamSynchronize(stream));
  int32_t back = 0;
  OK(cudaMemcpy(&back, device, 4, cudaMemcpyDeviceToHost));
  CHECK(back == 15);
}

TEST_CASE("host functions run in the order of their stream, and call nothing of the runtime") {
  const FreshMachine machine(lazy());
  const Number number(1);
  const cudaStream_t stream = new_stream();
  static int32_t seen;
  static int32_t* host;
  host = number.host;
  seen = 0;
  OK(launch(Increment{number.device, 1, 10}, stream));
  OK(cudaMemcpyAsync(number.host, number.device, 4, cudaMemcpyDeviceToHost, stream));
  OK(cudaLaunchHostFunc(
      stream, [](void*) { seen = *host; }, nullptr));
  OK(launch(Increment{number.device, 1, 10}, stream));
  OK(cudaMemcpyAsync(number.host, number.device, 4, cudaMemcpyDeviceToHost, stream));
  OK(cudaStreamSynchronize(stream));
  CHECK(seen == 11);
  CHECK(*number.host == 21);

  static cudaError_t answer;
  OK(cudaLaunchHostFunc(
      stream, [](void*) { answer = cudaDeviceSynchronize(); }, nullptr));
  OK(cudaStreamSynchronize(stream));
  CHECK(answer == cudaErrorNotPermitted);
  expect_finding("cudaDeviceSynchronize called in a function that cudaLaunchHostFunc runs");
}

TEST_CASE("streams and events that were destroyed are refused and reported, and their work still happens") {
  const FreshMachine machine(lazy());
  const Number number(1);
  const cudaStream_t stream = new_stream();
  const cudaEvent_t event = new_event();
  OK(launch(Increment{number.device, 1, 10}, stream));
  OK(cudaStreamDestroy(stream));
  OK(cudaDeviceSynchronize());
  CHECK(number.fetch() == 11);
  CHECK(cudaStreamSynchronize(stream) == cudaErrorInvalidResourceHandle);
  expect_finding("a stream that was destroyed");
  CHECK(launch(Increment{}, stream) == cudaErrorInvalidResourceHandle);
  expect_finding("a stream that was destroyed");
  CHECK(cudaStreamDestroy(stream) == cudaErrorInvalidResourceHandle);
  expect_finding("a stream that was destroyed");
  OK(cudaEventDestroy(event));
  CHECK(cudaEventRecord(event, nullptr) == cudaErrorInvalidResourceHandle);
  expect_finding("an event that was destroyed");
  CHECK(cudaStreamWaitEvent(nullptr, event, 0) == cudaErrorInvalidResourceHandle);
  expect_finding("an event that was destroyed");
  CHECK(cudaStreamSynchronize(cudaStreamPerThread) == cudaErrorInvalidResourceHandle);
  expect_finding("no default streams of threads");
}

TEST_CASE("streams that come and go leave nothing behind") {
  const FreshMachine machine;
  const Number number(0);
  std::vector<cudaStream_t> streams;
  for (int i = 0; i < 300; ++i) {
    const cudaStream_t stream = new_stream();
    OK(launch(Increment{number.device, 1, 1}, stream));
    OK(cudaStreamSynchronize(stream));
    OK(cudaStreamDestroy(stream));
  }
  CHECK(number.fetch() == 300);
  OK(cudaFree(number.device));
  OK(cudaFreeHost(number.host));
  report_leaks();
}

TEST_CASE("a long chain of work that nobody waited for is done, or dropped, without harm") {
  const FreshMachine machine(lazy());
  const Number number(0);
  const cudaStream_t stream = new_stream();
  for (int i = 0; i < 50000; ++i) OK(launch(Increment{number.device, 1, 1}, stream));
  OK(cudaStreamSynchronize(stream));
  CHECK(number.fetch() == 50000);
  for (int i = 0; i < 50000; ++i) OK(launch(Increment{number.device, 1, 1}, stream));
}

TEST_CASE("threads may use streams of their own at the same time") {
  for (const Effects effects : {Effects::Eager, Effects::Lazy, Effects::Seeded}) {
    GpuOptions options;
    options.effects = effects;
    const FreshMachine machine(options);
    constexpr int kThreads = 4, kRounds = 100;
    std::atomic<int> n_wrong = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&n_wrong] {  // doctest's checks are not for threads
        cudaStream_t stream = nullptr;
        int32_t *device = nullptr, *host = nullptr;
        if (cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) ||
            cudaMalloc(reinterpret_cast<void**>(&device), 4) || cudaMallocHost(reinterpret_cast<void**>(&host), 4) ||
            cudaMemsetAsync(device, 0, 4, stream)) {
          ++n_wrong;
          return;
        }
        for (int i = 1; i <= kRounds; ++i) {
          if (launch(Increment{device, 1, 1}, stream) ||
              cudaMemcpyAsync(host, device, 4, cudaMemcpyDeviceToHost, stream) || cudaStreamSynchronize(stream) ||
              *host != i) {
            ++n_wrong;
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(n_wrong == 0);
  }
}

TEST_CASE("devices go on by themselves while the program only looks at mapped memory") {
  GpuOptions options = lazy();
  options.goes_on_after_seconds = 0.001;
  const FreshMachine machine(options);
  auto* word = pinned_memory<uint32_t>(1);
  *word = 0;
  OK(launch(Publish{word, 3}, nullptr));
  for (int i = 0; i < 100000 && std::atomic_ref<uint32_t>(*word).load(std::memory_order_acquire) != 3; ++i) {
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  CHECK(std::atomic_ref<uint32_t>(*word).load(std::memory_order_acquire) == 3);
  OK(cudaDeviceSynchronize());
}

}  // namespace
}  // namespace sluice::simt
