#include <stdexcept>

#include "tests/simt/cudart_fixture.h"

namespace sluice::simt {
namespace {

constexpr double kMs = 1e-3;

// Round numbers: 1 MB takes 1 ms to the device, 2 ms back; a kernel 3 ms; calls and latencies nothing.
GpuOptions round_numbers() {
  GpuOptions options;
  options.devices[0].host_to_device_bytes_per_second = 1e9;
  options.devices[0].device_to_host_bytes_per_second = 0.5e9;
  options.devices[0].device_bytes_per_second = 10e9;
  options.call_seconds = options.copy_latency_seconds = options.launch_latency_seconds = 0;
  options.graph_launch_seconds = options.graph_node_seconds = options.host_function_seconds = 0;
  options.default_kernel_seconds = 3 * kMs;
  return options;
}
constexpr size_t kMegabyte = 1000000;

struct Buffers {
  std::byte* device = device_memory<std::byte>(2 * kMegabyte);
  std::byte* pinned = pinned_memory<std::byte>(2 * kMegabyte);
};

cudaError_t to_device(const Buffers& b, cudaStream_t stream, size_t bytes = kMegabyte) {
  return cudaMemcpyAsync(b.device, b.pinned, bytes, cudaMemcpyHostToDevice, stream);
}
cudaError_t from_device(const Buffers& b, cudaStream_t stream, size_t bytes = kMegabyte) {
  return cudaMemcpyAsync(b.pinned + kMegabyte, b.device + kMegabyte, bytes, cudaMemcpyDeviceToHost, stream);
}
cudaError_t kernel(cudaStream_t stream) {
  return launch(Increment{}, stream);
}

TEST_CASE("copies in both directions and kernels of different streams take their time beside each other") {
  const FreshMachine machine(round_numbers());
  const Buffers b;
  const cudaStream_t up = new_stream(), down = new_stream(), compute = new_stream();
  OK(to_device(b, up));
  OK(from_device(b, down));
  OK(kernel(compute));
  CHECK(host_seconds() == 0);  // asking costs nothing here
  OK(cudaStreamSynchronize(up));
  CHECK(host_seconds() == doctest::Approx(1 * kMs));
  OK(cudaStreamSynchronize(compute));
  CHECK(host_seconds() == doctest::Approx(3 * kMs));
  OK(cudaStreamSynchronize(down));
  CHECK(host_seconds() == doctest::Approx(3 * kMs));

  const std::vector<Span> trace = take_trace();
  REQUIRE(trace.size() == 3);
  for (const Span& span : trace) CHECK(span.start == 0);
}

TEST_CASE("what one stream is given takes its time one after the other, and so does what one engine is given") {
  const FreshMachine machine(round_numbers());
  const Buffers b, c;
  const cudaStream_t one = new_stream(), two = new_stream();
  OK(to_device(b, one));
  OK(kernel(one));  // 1 to 4 ms
  OK(to_device(c, two));
  OK(kernel(two));  // copied from 1 to 2 ms, computes from 4 to 7 ms
  OK(cudaDeviceSynchronize());
  CHECK(host_seconds() == doctest::Approx(7 * kMs));
}

TEST_CASE("an engine takes what is ready first, not what was asked for first") {
  const FreshMachine machine(round_numbers());
  const Buffers b, c;
  const cudaStream_t one = new_stream(), two = new_stream();
  OK(kernel(one));
  OK(to_device(b, one));  // ready at 3 ms
  OK(to_device(c, two));  // ready at once
  OK(cudaStreamSynchronize(two));
  CHECK(host_seconds() == doctest::Approx(1 * kMs));
  OK(cudaStreamSynchronize(one));
  CHECK(host_seconds() == doctest::Approx(4 * kMs));
}

TEST_CASE("of two streams that are ready at the same time the one of higher priority goes first") {
  const FreshMachine machine(round_numbers());
  cudaStream_t urgent = nullptr;
  OK(cudaStreamCreateWithPriority(&urgent, cudaStreamNonBlocking, -1));
  const cudaStream_t other = new_stream();
  OK(kernel(other));
  OK(kernel(other));
  OK(kernel(urgent));
  OK(kernel(urgent));  // both were given their work at 0: the urgent one computes from 0 to 6 ms
  OK(cudaStreamSynchronize(urgent));
  CHECK(host_seconds() == doctest::Approx(6 * kMs));
}

TEST_CASE("an event carries one stream's time to another, and two events tell the time between them") {
  const FreshMachine machine(round_numbers());
  const Buffers b;
  const cudaStream_t copy = new_stream(), compute = new_stream();
  const cudaEvent_t start = new_event(), loaded = new_event(cudaEventDisableTiming), end = new_event();
  OK(cudaEventRecord(start, compute));
  OK(to_device(b, copy, 2 * kMegabyte));
  OK(cudaEventRecord(loaded, copy));
  OK(cudaStreamWaitEvent(compute, loaded, 0));
  OK(kernel(compute));
  OK(cudaEventRecord(end, compute));
  float milliseconds = 0;
  CHECK(cudaEventElapsedTime(&milliseconds, start, end) == cudaErrorNotReady);
  OK(cudaEventSynchronize(end));
  OK(cudaEventElapsedTime(&milliseconds, start, end));
  CHECK(milliseconds == doctest::Approx(5));
  CHECK(cudaEventElapsedTime(&milliseconds, start, loaded) == cudaErrorInvalidResourceHandle);  // has no timing
}

TEST_CASE("the host's work passes time, and a query tells when something has ended without waiting for it") {
  const FreshMachine machine(round_numbers());
  const cudaStream_t stream = new_stream();
  OK(kernel(stream));
  CHECK(cudaStreamQuery(stream) == cudaErrorNotReady);
  CHECK(cudaGetLastError() == cudaSuccess);  // which is no error
  advance_host(2.9 * kMs);
  CHECK(cudaStreamQuery(stream) == cudaErrorNotReady);
  advance_host(0.2 * kMs);
  CHECK(cudaStreamQuery(stream) == cudaSuccess);
  CHECK(host_seconds() == doctest::Approx(3.1 * kMs));
}

TEST_CASE("calls, latencies and launches of graphs cost what the options say") {
  GpuOptions options = round_numbers();
  const FreshMachine machine(options);
  const Buffers b;
  const cudaStream_t stream = new_stream();
  OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  for (int i = 0; i < 4; ++i) OK(kernel(stream));
  cudaGraph_t graph = nullptr;
  OK(cudaStreamEndCapture(stream, &graph));
  CHECK(host_seconds() == 0);

  // The same again on a machine that costs something.
  options.call_seconds = 1 * kMs;
  options.copy_latency_seconds = 10 * kMs;
  options.launch_latency_seconds = 20 * kMs;
  options.graph_launch_seconds = 100 * kMs;
  options.graph_node_seconds = 7 * kMs;
  reset_emulated_gpu(options);
  const Buffers c;  // two calls
  const cudaStream_t another = new_stream();
  CHECK(host_seconds() == doctest::Approx(3 * kMs));
  OK(to_device(c, another));
  OK(cudaStreamSynchronize(another));  // asked for at 4, copied from 14 to 15 ms
  CHECK(host_seconds() == doctest::Approx(15 * kMs));
  OK(kernel(another));  // asked for at 16, computes from 36 to 39 ms
  OK(cudaStreamSynchronize(another));
  CHECK(host_seconds() == doctest::Approx(39 * kMs));
  OK(cudaStreamBeginCapture(another, cudaStreamCaptureModeGlobal));
  for (int i = 0; i < 4; ++i) OK(kernel(another));
  OK(cudaStreamEndCapture(another, &graph));
  cudaGraphExec_t instantiated = nullptr;
  OK(cudaGraphInstantiate(&instantiated, graph, 0));
  CHECK(host_seconds() == doctest::Approx(46 * kMs));
  OK(cudaGraphLaunch(instantiated, another));  // 1 + 100 + 4 * 7
  CHECK(host_seconds() == doctest::Approx(175 * kMs));
  OK(cudaStreamSynchronize(another));  // starts 20 ms later and computes for 12
  CHECK(host_seconds() == doctest::Approx(207 * kMs));
}

TEST_CASE("a callback says how long a kernel computes") {
  GpuOptions options = round_numbers();
  options.kernel_seconds = [](const KernelLaunch& start) {
    CHECK(start.name == "test_increment");
    CHECK(start.parameters.size() == sizeof(Increment));
    return start.grid.x * start.block.x * kMs;
  };
  const FreshMachine machine(options);
  OK(launch(Increment{}, nullptr, 3, 5));
  OK(cudaDeviceSynchronize());
  CHECK(host_seconds() == doctest::Approx(15 * kMs));
}

TEST_CASE("a link that both directions share holds their sum to its limit") {
  GpuOptions options = round_numbers();
  options.devices[0].device_to_host_bytes_per_second = 1e9;
  for (const auto& [limit, expected_ms] : {std::pair{0.0, 1.0}, std::pair{1.6e9, 1.25}, std::pair{1e9, 2.0}}) {
    options.shared_link_bytes_per_second = limit;
    const FreshMachine machine(options);
    const Buffers b;
    const cudaStream_t up = new_stream(), down = new_stream();
    OK(to_device(b, up));
    OK(from_device(b, down));
    OK(cudaDeviceSynchronize());
    CHECK(host_seconds() == doctest::Approx(expected_ms * kMs));
  }
}

TEST_CASE("a host function holds its stream for as long as it works, and not the host") {
  const FreshMachine machine(round_numbers());
  const cudaStream_t stream = new_stream();
  OK(cudaLaunchHostFunc(
      stream, [](void*) { advance_host(4 * kMs); }, nullptr));
  OK(kernel(stream));
  CHECK(host_seconds() == 0);
  OK(cudaStreamSynchronize(stream));
  CHECK(host_seconds() == doctest::Approx(7 * kMs));
}

TEST_CASE("a graph's branches compute and copy beside each other, and a graph not beside itself") {
  const FreshMachine machine(round_numbers());
  const Buffers b;
  const cudaStream_t one = new_stream(), two = new_stream();
  const cudaEvent_t fork = new_event(), joined = new_event();
  OK(cudaStreamBeginCapture(one, cudaStreamCaptureModeGlobal));
  OK(cudaEventRecord(fork, one));
  OK(cudaStreamWaitEvent(two, fork, 0));
  OK(kernel(one));
  OK(to_device(b, two));
  OK(cudaEventRecord(joined, two));
  OK(cudaStreamWaitEvent(one, joined, 0));
  OK(from_device(b, one));
  cudaGraph_t graph = nullptr;
  OK(cudaStreamEndCapture(one, &graph));
  cudaGraphExec_t instantiated = nullptr;
  OK(cudaGraphInstantiate(&instantiated, graph, 0));
  OK(cudaGraphLaunch(instantiated, one));
  OK(cudaGraphLaunch(instantiated, two));
  OK(cudaStreamSynchronize(one));
  CHECK(host_seconds() == doctest::Approx(5 * kMs));
  OK(cudaStreamSynchronize(two));
  CHECK(host_seconds() == doctest::Approx(10 * kMs));
  const std::vector<Span> trace = take_trace();
  REQUIRE(trace.size() == 6);
  CHECK(trace[0].start == trace[1].start);
  CHECK(trace[3].start == doctest::Approx(5 * kMs));  // both branches of the second launch wait for the first
  CHECK(trace[5].end == doctest::Approx(10 * kMs));
}

TEST_CASE(
    "a kernel that is timed when it runs takes what it finds in memory then, each time that its graph is launched") {
  GpuOptions options = round_numbers();
  options.times_kernels_when_run = true;
  int32_t* data = nullptr;
  options.kernel_seconds = [&](const KernelLaunch&) { return data[0] * kMs; };
  const FreshMachine machine(options);
  data = device_memory<int32_t>(1);
  data[0] = 1;
  const cudaStream_t stream = new_stream();
  OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  for (int i = 0; i < 2; ++i) OK(launch(Increment{data, 1, 2}, stream));
  cudaGraph_t graph = nullptr;
  OK(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t made = nullptr;
  OK(cudaGraphInstantiate(&made, graph, 0));
  OK(cudaGraphLaunch(made, stream));
  OK(cudaStreamSynchronize(stream));
  CHECK(host_seconds() == doctest::Approx((1 + 3) * kMs));
  OK(cudaGraphLaunch(made, stream));
  OK(cudaStreamSynchronize(stream));
  CHECK(host_seconds() == doctest::Approx((1 + 3 + 5 + 7) * kMs));
  OK(cudaGraphExecDestroy(made));
  OK(cudaGraphDestroy(graph));
}

TEST_CASE("copies to the device take the time that is asked for, by their bytes") {
  GpuOptions options = round_numbers();
  options.host_to_device_seconds = [](uint64_t bytes) { return bytes == kMegabyte ? 5 * kMs : 7 * kMs; };
  const FreshMachine machine(options);
  const Buffers b;
  const cudaStream_t stream = new_stream();
  OK(to_device(b, stream));
  OK(to_device(b, stream, 1));
  OK(cudaStreamSynchronize(stream));
  CHECK(host_seconds() == doctest::Approx(12 * kMs));
}

TEST_CASE("the host that waits for a watched kernel's word is at its end, and no further") {
  GpuOptions options = round_numbers();
  options.watched_kernel = "publish";
  const FreshMachine machine(options);
  auto* const word = pinned_memory<uint32_t>(1);
  const cudaStream_t stream = new_stream();
  for (uint64_t value = 1; value <= 3; ++value) {
    OK(kernel(stream));
    OK(launch(Publish{word, value}, stream));
  }
  CHECK_THROWS_AS(wait_for_watched_kernel(4), std::logic_error);
  wait_for_watched_kernel(1);
  CHECK(host_seconds() == doctest::Approx(6 * kMs));
  wait_for_watched_kernel(3);
  CHECK(host_seconds() == doctest::Approx(18 * kMs));
  CHECK_THROWS_AS(wait_for_watched_kernel(2), std::logic_error);
  OK(cudaStreamSynchronize(stream));
}

TEST_CASE("what is done beside the host moves its clock not at all, and the devices' work as ever") {
  const FreshMachine machine(round_numbers());
  const Buffers b;
  const cudaStream_t stream = new_stream();
  advance_host(1 * kMs);
  do_beside_host([&] {
    OK(to_device(b, stream));
    OK(cudaStreamSynchronize(stream));
  });
  CHECK(host_seconds() == doctest::Approx(1 * kMs));
  OK(cudaStreamSynchronize(stream));
  CHECK(host_seconds() == doctest::Approx(2 * kMs));
}

TEST_CASE("a kernel that cannot be timed fails for whoever finds out, and nobody waits for it afterwards") {
  GpuOptions options = round_numbers();
  options.times_kernels_when_run = true;
  options.effects = Effects::Lazy;
  options.kernel_seconds = [](const KernelLaunch&) -> double { throw std::runtime_error("it has no name"); };
  const FreshMachine machine(options);
  const cudaStream_t stream = new_stream();
  OK(kernel(stream));
  CHECK_THROWS_WITH_AS(cudaStreamSynchronize(stream), "it has no name", std::runtime_error);
  CHECK(cudaStreamQuery(stream) == cudaErrorLaunchFailure);
  CHECK(cudaStreamSynchronize(stream) == cudaErrorLaunchFailure);
}

}  // namespace
}  // namespace sluice::simt
