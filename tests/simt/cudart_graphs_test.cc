#include <thread>

#include "tests/simt/cudart_fixture.h"

namespace sluice::simt {
namespace {

struct Numbers {
  int32_t* device = device_memory<int32_t>(4);
  int32_t* host = pinned_memory<int32_t>(4);

  Numbers() {
    for (int i = 0; i < 4; ++i) host[i] = 0;
    OK(cudaMemset(device, 0, 16));
    OK(cudaDeviceSynchronize());
  }
};

cudaGraph_t end_capture(cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  OK(cudaStreamEndCapture(stream, &graph));
  return graph;
}
void begin_capture(cudaStream_t stream, cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal) {
  OK(cudaStreamBeginCapture(stream, mode));
}
cudaGraphExec_t instantiate(cudaGraph_t graph) {
  cudaGraphExec_t instantiated = nullptr;
  OK(cudaGraphInstantiateWithFlags(&instantiated, graph, 0));
  return instantiated;
}

TEST_CASE("a capture does nothing, and its graph does it all as often as it is launched") {
  for (const Effects effects : {Effects::Eager, Effects::Lazy, Effects::Seeded}) {
    GpuOptions options;
    options.effects = effects;
    const FreshMachine machine(options);
    const Numbers n;
    static int n_calls;
    n_calls = 0;
    const cudaStream_t stream = new_stream();
    begin_capture(stream);
    cudaStreamCaptureStatus status{};
    OK(cudaStreamIsCapturing(stream, &status));
    CHECK(status == cudaStreamCaptureStatusActive);
    OK(launch(Increment{n.device, 4, 3}, stream));
    OK(cudaMemcpyAsync(n.host, n.device, 16, cudaMemcpyDeviceToHost, stream));
    OK(cudaLaunchHostFunc(
        stream, [](void*) { ++n_calls; }, nullptr));
    OK(cudaMemsetAsync(n.device, 0, 4, stream));
    const cudaGraph_t graph = end_capture(stream);
    OK(cudaStreamIsCapturing(stream, &status));
    CHECK(status == cudaStreamCaptureStatusNone);
    size_t n_nodes = 0;
    OK(cudaGraphGetNodes(graph, nullptr, &n_nodes));
    CHECK(n_nodes == 4);
    const cudaGraphExec_t instantiated = instantiate(graph);
    OK(cudaGraphDestroy(graph));  // no longer needed
    OK(cudaGraphUpload(instantiated, stream));
    OK(cudaStreamSynchronize(stream));
    CHECK(n.host[3] == 0);
    for (int i = 1; i <= 3; ++i) OK(cudaGraphLaunch(instantiated, stream));
    OK(cudaStreamSynchronize(stream));
    CHECK(n_calls == 3);
    CHECK(n.host[0] == 3);
    CHECK(n.host[3] == 9);
    OK(cudaGraphExecDestroy(instantiated));
  }
}

TEST_CASE("an update changes what a graph's nodes do, and is refused where the graph is another one") {
  const FreshMachine machine;
  const Numbers n;
  const cudaStream_t stream = new_stream();
  begin_capture(stream);
  OK(launch(Increment{n.device, 4, 3}, stream));
  OK(cudaMemcpyAsync(n.host, n.device, 16, cudaMemcpyDeviceToHost, stream));
  const cudaGraphExec_t instantiated = instantiate(end_capture(stream));

  begin_capture(stream);
  OK(launch(Increment{n.device + 1, 1, 50}, stream));
  OK(cudaMemcpyAsync(n.host, n.device, 8, cudaMemcpyDeviceToHost, stream));
  cudaGraphExecUpdateResultInfo info{};
  OK(cudaGraphExecUpdate(instantiated, end_capture(stream), &info));
  CHECK(info.result == cudaGraphExecUpdateSuccess);
  OK(cudaGraphLaunch(instantiated, stream));
  OK(cudaStreamSynchronize(stream));
  CHECK(n.host[0] == 0);
  CHECK(n.host[1] == 50);

  begin_capture(stream);
  OK(launch(Increment{n.device, 4, 3}, stream));
  CHECK(cudaGraphExecUpdate(instantiated, end_capture(stream), &info) == cudaErrorGraphExecUpdateFailure);
  CHECK(info.result == cudaGraphExecUpdateErrorTopologyChanged);

  begin_capture(stream);
  OK(launch(Increment{n.device, 4, 3}, stream));
  OK(cudaMemsetAsync(n.device, 0, 16, stream));
  CHECK(cudaGraphExecUpdate(instantiated, end_capture(stream), &info) == cudaErrorGraphExecUpdateFailure);
  CHECK(info.result == cudaGraphExecUpdateErrorNodeTypeChanged);
  CHECK(info.errorNode != nullptr);

  begin_capture(stream);
  OK(launch(Increment{n.device, 4, 3}, stream));
  OK(cudaMemcpyAsync(n.device, n.host, 8, cudaMemcpyHostToDevice, stream));  // the other way
  CHECK(cudaGraphExecUpdate(instantiated, end_capture(stream), &info) == cudaErrorGraphExecUpdateFailure);
  CHECK(info.result == cudaGraphExecUpdateErrorParametersChanged);
  OK(cudaGraphLaunch(instantiated, stream));  // still what it was
  OK(cudaStreamSynchronize(stream));
  CHECK(n.host[1] == 100);
}

TEST_CASE("a second stream takes part in a capture by an event, and must be joined in the end") {
  const FreshMachine machine;
  const Numbers n;
  const cudaStream_t one = new_stream(), two = new_stream();
  const cudaEvent_t forked = new_event(), joined = new_event();
  for (const bool joins : {true, false}) {
    begin_capture(one);
    OK(launch(Increment{n.device, 4, 1}, one));
    OK(cudaEventRecord(forked, one));
    OK(cudaStreamWaitEvent(two, forked, 0));
    OK(launch(Increment{n.device + 1, 1, 10}, two));
    OK(launch(Increment{n.device, 1, 100}, one));
    OK(cudaEventRecord(joined, two));
    if (joins) OK(cudaStreamWaitEvent(one, joined, 0));
    OK(cudaMemcpyAsync(n.host, n.device, 16, cudaMemcpyDeviceToHost, one));
    cudaGraph_t graph = nullptr;
    if (joins) {
      OK(cudaStreamEndCapture(one, &graph));
      OK(cudaGraphLaunch(instantiate(graph), two));
      OK(cudaStreamSynchronize(two));
      CHECK(n.host[0] == 101);
      CHECK(n.host[1] == 11);
    } else {
      CHECK(cudaStreamEndCapture(one, &graph) == cudaErrorStreamCaptureUnjoined);
      CHECK(graph == nullptr);
      OK(cudaStreamSynchronize(two));  // captures no more
    }
  }
}

TEST_CASE("what a capture forbids is refused and makes it invalid") {
  const FreshMachine machine;
  const Numbers n;
  cudaStream_t blocking = nullptr;
  OK(cudaStreamCreate(&blocking));
  const cudaStream_t other = new_stream();
  const cudaEvent_t outside = new_event(), inside = new_event();
  OK(cudaEventRecord(outside, other));
  struct Forbidden {
    const char* name;
    std::function<cudaError_t()> call;
    cudaError_t error;
  };
  void* memory = nullptr;
  const Forbidden cases[] = {
      {"cudaMalloc", [&] { return cudaMalloc(&memory, 4); }, cudaErrorStreamCaptureUnsupported},
      {"cudaFree", [&] { return cudaFree(n.device); }, cudaErrorStreamCaptureUnsupported},
      {"cudaHostAlloc", [&] { return cudaHostAlloc(&memory, 4, 0); }, cudaErrorStreamCaptureUnsupported},
      {"cudaMemcpy", [&] { return cudaMemcpy(n.device, n.host, 4, cudaMemcpyHostToDevice); },
       cudaErrorStreamCaptureUnsupported},
      {"cudaDeviceSynchronize", [&] { return cudaDeviceSynchronize(); }, cudaErrorStreamCaptureUnsupported},
      {"cudaStreamSynchronize", [&] { return cudaStreamSynchronize(blocking); }, cudaErrorStreamCaptureUnsupported},
      {"cudaStreamQuery", [&] { return cudaStreamQuery(blocking); }, cudaErrorStreamCaptureUnsupported},
      {"cudaEventQuery", [&] { return cudaEventQuery(inside); }, cudaErrorCapturedEvent},
      {"cudaEventSynchronize", [&] { return cudaEventSynchronize(inside); }, cudaErrorCapturedEvent},
      {"an event from outside", [&] { return cudaStreamWaitEvent(blocking, outside, 0); },
       cudaErrorStreamCaptureIsolation},
      {"the legacy default stream",
       [&] {
         return launch(Increment{n.device, 1, 1}, nullptr);
       },
       cudaErrorStreamCaptureImplicit},
      {"a capture in a capture", [&] { return cudaStreamBeginCapture(blocking, cudaStreamCaptureModeGlobal); },
       cudaErrorIllegalState},
  };
  for (const Forbidden& forbidden : cases) {
    CAPTURE(forbidden.name);
    begin_capture(blocking);
    OK(cudaEventRecord(inside, blocking));
    CHECK(forbidden.call() == forbidden.error);
    cudaStreamCaptureStatus status{};
    OK(cudaStreamIsCapturing(blocking, &status));
    CHECK(status == cudaStreamCaptureStatusInvalidated);
    CHECK(launch(Increment{n.device, 1, 1}, blocking) == cudaErrorStreamCaptureInvalidated);
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamEndCapture(blocking, &graph) == cudaErrorStreamCaptureInvalidated);
    CHECK(graph == nullptr);
    OK(cudaStreamSynchronize(blocking));  // the stream is of use again
  }
  CHECK(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal) == cudaErrorStreamCaptureUnsupported);
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamEndCapture(blocking, &graph) == cudaErrorIllegalState);
}

TEST_CASE("whom a capture forbids what depends on its mode and on the thread") {
  const FreshMachine machine;
  const cudaStream_t stream = new_stream();
  struct Mode {
    cudaStreamCaptureMode mode;
    bool forbids_own, forbids_other;
  };
  for (const Mode& mode :
       {Mode{cudaStreamCaptureModeGlobal, true, true}, Mode{cudaStreamCaptureModeThreadLocal, true, false},
        Mode{cudaStreamCaptureModeRelaxed, false, false}}) {
    for (const bool is_own : {true, false}) {
      begin_capture(stream, mode.mode);
      cudaError_t error = cudaSuccess;
      const auto allocate = [&error] {
        void* memory = nullptr;
        error = cudaMalloc(&memory, 4);
      };
      if (is_own) {
        allocate();
      } else {
        std::thread(allocate).join();
      }
      const bool is_forbidden = is_own ? mode.forbids_own : mode.forbids_other;
      CHECK(error == (is_forbidden ? cudaErrorStreamCaptureUnsupported : cudaSuccess));
      cudaGraph_t graph = nullptr;
      CHECK(cudaStreamEndCapture(stream, &graph) == (is_forbidden ? cudaErrorStreamCaptureInvalidated : cudaSuccess));
    }
  }
}

TEST_CASE("captures of two streams must not meet, and a capture ends in the stream and thread that began it") {
  const FreshMachine machine;
  const cudaStream_t one = new_stream(), two = new_stream();
  const cudaEvent_t event = new_event();
  cudaGraph_t graph = nullptr;
  begin_capture(one);
  begin_capture(two);
  OK(cudaEventRecord(event, one));
  CHECK(cudaStreamWaitEvent(two, event, 0) == cudaErrorStreamCaptureMerge);
  CHECK(cudaStreamEndCapture(one, &graph) == cudaErrorStreamCaptureInvalidated);
  CHECK(cudaStreamEndCapture(two, &graph) == cudaErrorStreamCaptureInvalidated);

  begin_capture(one);
  OK(cudaEventRecord(event, one));
  OK(cudaStreamWaitEvent(two, event, 0));
  CHECK(cudaStreamEndCapture(two, &graph) == cudaErrorStreamCaptureUnmatched);
  CHECK(cudaStreamEndCapture(one, &graph) == cudaErrorStreamCaptureInvalidated);

  begin_capture(one);
  cudaError_t error = cudaSuccess;
  std::thread([&] { error = cudaStreamEndCapture(one, &graph); }).join();
  CHECK(error == cudaErrorStreamCaptureWrongThread);
  OK(cudaStreamEndCapture(one, &graph));
  CHECK(cudaEventQuery(event) == cudaErrorCapturedEvent);  // also after the capture
}

TEST_CASE("a graph that copies memory which was freed kills the device") {
  const FreshMachine machine;
  const Numbers n;
  auto* gone = device_memory<int32_t>(4);
  const cudaStream_t stream = new_stream();
  begin_capture(stream);
  OK(cudaMemcpyAsync(gone, n.host, 16, cudaMemcpyHostToDevice, stream));
  const cudaGraphExec_t instantiated = instantiate(end_capture(stream));
  OK(cudaFree(gone));
  CHECK(cudaGraphLaunch(instantiated, stream) == cudaErrorIllegalAddress);
  expect_finding("uses memory that was freed before it ran");
  OK(cudaGraphExecDestroy(instantiated));
  CHECK(cudaGraphExecDestroy(instantiated) == cudaErrorInvalidValue);
  expect_finding("an instantiated graph that was destroyed");
}

}  // namespace
}  // namespace sluice::simt
