#include <cuda.h>

#include <atomic>
#include <thread>

#include "tests/simt/cudart_fixture.h"

namespace sluice::simt {
namespace {

template <class Function>
Function driver_call(const char* name) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult status{};
  OK(cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &status));
  REQUIRE(status == cudaDriverEntryPointSuccess);
  return reinterpret_cast<Function>(found);
}
using OnValue = CUresult (*)(CUstream, CUdeviceptr, cuuint32_t, unsigned);

struct Words {
  OnValue wait = driver_call<OnValue>("cuStreamWaitValue32");
  OnValue write = driver_call<OnValue>("cuStreamWriteValue32");
  uint32_t* word = pinned_memory<uint32_t>(4);
  int32_t* device = device_memory<int32_t>(1);
  int32_t* host = pinned_memory<int32_t>(1);

  Words() {
    for (int i = 0; i < 4; ++i) word[i] = 0;
    *host = 0;
    OK(cudaMemset(device, 0, 4));
    OK(cudaDeviceSynchronize());
  }
  CUdeviceptr at(int i = 0) const { return reinterpret_cast<CUdeviceptr>(word + i); }
};

void store(uint32_t* word, uint32_t value) {
  std::atomic_ref<uint32_t>(*word).store(value, std::memory_order_release);
}
uint32_t load(uint32_t* word) {
  return std::atomic_ref<uint32_t>(*word).load(std::memory_order_acquire);
}

const Effects kAllEffects[] = {Effects::Eager, Effects::Lazy, Effects::Seeded};

GpuOptions with(Effects effects) {
  GpuOptions options;
  options.effects = effects;
  options.goes_on_after_seconds = 0;
  options.kernel_ranges = ranges_of_test_kernels;
  return options;
}

// The way of a layer whose experts are shared: the device publishes what it chose, the host computes, the device goes on.
TEST_CASE("the device waits for a word that a host thread writes, which waited for a word of the device") {
  for (const Effects effects : kAllEffects) {
    const FreshMachine machine(with(effects));
    const Words w;
    const cudaStream_t stream = new_stream();
    OK(launch(Publish{w.word, 1}, stream));
    CHECK(w.wait(stream, w.at(1), 1, CU_STREAM_WAIT_VALUE_GEQ) == CUDA_SUCCESS);
    OK(cudaMemcpyAsync(w.device, w.host, 4, cudaMemcpyHostToDevice, stream));
    OK(launch(Increment{w.device, 1, 1000}, stream));
    OK(cudaMemcpyAsync(w.host, w.device, 4, cudaMemcpyDeviceToHost, stream));
    std::thread host([&] {
      while (load(w.word) != 1) {
        cudaStreamQuery(stream);  // lets virtual time pass
        std::this_thread::yield();
      }
      advance_host(0.5);
      host_touches(w.host, 4, true);  // no race: the device's copy waits for the word
      *w.host = 42;
      store(w.word + 1, 1);
    });
    OK(cudaStreamSynchronize(stream));
    host.join();
    CHECK(*w.host == 1042);
    CHECK(host_seconds() >= 0.5);
  }
}

TEST_CASE("a stream that waits for a word does not hold up others, and takes up where it waited") {
  for (const Effects effects : kAllEffects) {
    const FreshMachine machine(with(effects));
    const Words w;
    const cudaStream_t waiting = new_stream(), other = new_stream();
    CHECK(w.wait(waiting, w.at(), 5, CU_STREAM_WAIT_VALUE_EQ) == CUDA_SUCCESS);
    OK(launch(Increment{w.device, 1, 1}, waiting));
    int32_t value = -1;
    auto* apart = device_memory<int32_t>(1);
    OK(cudaMemsetAsync(apart, 0, 4, other));
    OK(launch(Increment{apart, 1, 7}, other));
    OK(cudaMemcpyAsync(&value, apart, 4, cudaMemcpyDeviceToHost, other));
    CHECK(value == 7);
    advance_host(1);
    CHECK(cudaStreamQuery(waiting) == cudaErrorNotReady);
    store(w.word, 4);
    CHECK(cudaStreamQuery(waiting) == cudaErrorNotReady);
    store(w.word, 5);
    CHECK(cudaStreamQuery(waiting) == cudaErrorNotReady);  // begins only now
    advance_host(1);
    CHECK(cudaStreamQuery(waiting) == cudaSuccess);
  }
}

TEST_CASE("one stream writes the word that another waits for, which orders their work in time and for races") {
  for (const Effects effects : kAllEffects) {
    GpuOptions options = with(effects);
    options.default_kernel_seconds = 1;
    const FreshMachine machine(options);
    const Words w;
    const cudaStream_t one = new_stream(), two = new_stream();
    CHECK(w.wait(two, w.at(), 9, CU_STREAM_WAIT_VALUE_EQ) == CUDA_SUCCESS);
    OK(launch(Increment{w.device, 1, 10}, two));
    OK(cudaMemcpyAsync(w.host, w.device, 4, cudaMemcpyDeviceToHost, two));
    OK(launch(Increment{w.device, 1, 1}, one));
    CHECK(w.write(one, w.at(), 9, CU_STREAM_WRITE_VALUE_DEFAULT) == CUDA_SUCCESS);
    OK(cudaStreamSynchronize(two));
    CHECK(*w.host == 11);
    CHECK(host_seconds() == doctest::Approx(2).epsilon(0.001));
  }
}

TEST_CASE("words are compared as the driver does: cyclic, equal, by bits") {
  const FreshMachine machine(with(Effects::Eager));
  const Words w;
  struct Case {
    unsigned how;
    uint32_t found, value;
    bool goes_on;
  };
  const Case cases[] = {
      {CU_STREAM_WAIT_VALUE_GEQ, 4, 5, false},
      {CU_STREAM_WAIT_VALUE_GEQ, 6, 5, true},
      {CU_STREAM_WAIT_VALUE_GEQ, 1, 0xFFFFFFFF, true},
      {CU_STREAM_WAIT_VALUE_GEQ, 0xFFFFFFFF, 1, false},
      {CU_STREAM_WAIT_VALUE_EQ, 6, 5, false},
      {CU_STREAM_WAIT_VALUE_EQ, 5, 5, true},
      {CU_STREAM_WAIT_VALUE_AND, 4, 3, false},
      {CU_STREAM_WAIT_VALUE_AND, 6, 3, true},
      {CU_STREAM_WAIT_VALUE_NOR, 0xFFFFFFF0, 0xF, false},
      {CU_STREAM_WAIT_VALUE_NOR, 0xFFFFFFF0, 7, true},
  };
  const cudaStream_t stream = new_stream();
  for (const Case& one : cases) {
    CAPTURE(one.found);
    CAPTURE(one.how);
    store(w.word, one.found);
    CHECK(w.wait(stream, w.at(), one.value, one.how) == CUDA_SUCCESS);
    advance_host(1);
    CHECK(cudaStreamQuery(stream) == (one.goes_on ? cudaSuccess : cudaErrorNotReady));
    store(w.word, one.how == CU_STREAM_WAIT_VALUE_NOR ? 0 : one.value);  // let it go on
    if (one.how == CU_STREAM_WAIT_VALUE_AND) store(w.word, 0xFFFFFFFF);
    OK(cudaStreamSynchronize(stream));
  }
  CHECK(w.wait(stream, w.at() + 2, 0, 0) == CUDA_ERROR_INVALID_VALUE);
  expect_finding("not a word of device memory or pinned memory");
  uint32_t own = 0;
  CHECK(w.write(stream, reinterpret_cast<CUdeviceptr>(&own), 0, 0) == CUDA_ERROR_INVALID_VALUE);
  expect_finding("not a word of device memory or pinned memory");
}

TEST_CASE("waits for words may be part of graphs") {
  const FreshMachine machine(with(Effects::Eager));
  const Words w;
  const cudaStream_t stream = new_stream();
  OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  CHECK(w.wait(stream, w.at(), 1, CU_STREAM_WAIT_VALUE_EQ) == CUDA_SUCCESS);
  OK(launch(Increment{w.device, 1, 1}, stream));
  CHECK(w.write(stream, w.at(), 0, 0) == CUDA_SUCCESS);
  OK(cudaMemcpyAsync(w.host, w.device, 4, cudaMemcpyDeviceToHost, stream));
  cudaGraph_t graph = nullptr;
  OK(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t instantiated = nullptr;
  OK(cudaGraphInstantiate(&instantiated, graph, 0));
  for (int i = 1; i <= 3; ++i) {
    OK(cudaGraphLaunch(instantiated, stream));
    run_pending_effects();
    CHECK(*w.host == i - 1);
    store(w.word, 1);
    OK(cudaStreamSynchronize(stream));
    CHECK(*w.host == i);
  }
}

TEST_CASE(
    "a host function may wait for the thread that started it, which is not held up, and orders what that thread did") {
  for (const Effects effects : kAllEffects) {
    for (const bool as_graph : {false, true}) {
      GpuOptions options = with(effects);
      options.host_functions_may_wait = true;
      const FreshMachine machine(options);
      const Words w;
      const cudaStream_t stream = new_stream();
      if (as_graph) OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
      OK(cudaLaunchHostFunc(
          stream,
          [](void* word) {
            while (load(static_cast<uint32_t*>(word)) != 1) std::this_thread::yield();
          },
          w.word));
      OK(cudaMemcpyAsync(w.device, w.host, 4, cudaMemcpyHostToDevice, stream));
      OK(launch(Increment{w.device, 1, 1000}, stream));
      OK(cudaMemcpyAsync(w.host, w.device, 4, cudaMemcpyDeviceToHost, stream));
      if (as_graph) {
        cudaGraph_t graph = nullptr;
        OK(cudaStreamEndCapture(stream, &graph));
        cudaGraphExec_t instantiated = nullptr;
        OK(cudaGraphInstantiate(&instantiated, graph, 0));
        OK(cudaGraphLaunch(instantiated, stream));
      }
      advance_host(0.5);
      CHECK(cudaStreamQuery(stream) == cudaErrorNotReady);
      run_pending_effects();
      host_touches(w.host, 4, true);
      *w.host = 42;
      store(w.word, 1);
      OK(cudaStreamSynchronize(stream));
      CHECK(*w.host == 1042);
      CHECK(host_seconds() >= 0.5);
    }
  }
}

TEST_CASE("waiting for a word that nobody writes ends with an error of the device and a finding") {
  GpuOptions options = with(Effects::Eager);
  options.gives_up_after_seconds = 0.05;
  const FreshMachine machine(options);
  const Words w;
  CHECK(w.wait(nullptr, w.at(), 1, CU_STREAM_WAIT_VALUE_EQ) == CUDA_SUCCESS);
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchTimeout);
  expect_finding("hang: a stream waits for a word in memory that nobody writes");
}

TEST_CASE("driver calls that are not there, or too new, are said so") {
  GpuOptions options;
  options.driver_version = 12000;
  const FreshMachine machine(options);
  void* found = &options;
  cudaDriverEntryPointQueryResult status{};
  OK(cudaGetDriverEntryPointByVersion("cuNothing", &found, 12000, cudaEnableDefault, &status));
  CHECK(status == cudaDriverEntryPointSymbolNotFound);
  CHECK(found == nullptr);
  OK(cudaGetDriverEntryPointByVersion("cuStreamWaitValue32", &found, 13000, cudaEnableDefault, &status));
  CHECK(status == cudaDriverEntryPointVersionNotSufficent);
  CHECK(cudaGetDriverEntryPointByVersion("cuNothing", &found, 12000, cudaEnableDefault, nullptr) ==
        cudaErrorSymbolNotFound);
}

}  // namespace
}  // namespace sluice::simt
