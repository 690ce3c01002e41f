// Streams that record what they are given instead of doing it, and the calls that a capture forbids.
#include "tests/simt/cudart/machine.h"
#include "tests/simt/runtime/findings.h"

namespace sluice::simt {
namespace {

cudaStreamCaptureMode& mode_of_thread() {
  thread_local cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  return mode;
}

bool forbids_this_thread(const Capture& capture) {
  if (capture.mode == cudaStreamCaptureModeRelaxed || mode_of_thread() == cudaStreamCaptureModeRelaxed) return false;
  if (capture.thread == std::this_thread::get_id()) return true;
  return capture.mode == cudaStreamCaptureModeGlobal && mode_of_thread() == cudaStreamCaptureModeGlobal;
}

bool is_legacy(const Machine& m, const StreamPointer& stream) {
  return stream == m.devices[static_cast<size_t>(stream->device)].legacy_stream;
}

// The legacy default stream would have to wait for the captured one.
cudaError_t refuse_legacy(Machine& m, const StreamPointer& stream) {
  cudaError_t error = cudaSuccess;
  for (const auto& [handle, other] : m.streams) {
    if (!other->capture || (other->flags & cudaStreamNonBlocking) != 0 || other->device != stream->device) continue;
    if (!forbids_this_thread(*other->capture)) continue;
    invalidate(other->capture);
    error = cudaErrorStreamCaptureImplicit;
  }
  return error;
}

Added capture_work(Stream& stream, Work work) {
  Capture& capture = *stream.capture;
  if (capture.is_invalid) return {cudaErrorStreamCaptureInvalidated, nullptr};
  if (capture.mode != cudaStreamCaptureModeRelaxed && capture.thread != std::this_thread::get_id()) {
    invalidate(stream.capture);
    return {cudaErrorStreamCaptureWrongThread, nullptr};
  }
  auto node = std::make_unique<GraphNode>();
  node->work = std::move(work);
  node->dependencies = stream.capture_frontier;
  node->lane = stream.capture_lane;
  stream.capture_frontier = {static_cast<int>(capture.graph.nodes.size())};
  capture.graph.nodes.push_back(std::move(node));
  return {};
}

// Whether all work of other streams was joined with the origin's in the end.
bool is_joined(const Graph& graph, const std::vector<int>& frontier) {
  std::vector<bool> is_reached(graph.nodes.size());
  for (const int node : frontier) is_reached[static_cast<size_t>(node)] = true;
  for (size_t i = graph.nodes.size(); i-- > 0;) {  // nodes only depend on nodes before them
    if (!is_reached[i]) return false;
    for (const int before : graph.nodes[i]->dependencies) is_reached[static_cast<size_t>(before)] = true;
  }
  return true;
}

void end_capture(Machine& m, const std::shared_ptr<Capture>& capture) {
  capture->is_active = false;
  for (const StreamPointer& stream : capture->streams) {
    stream->capture = nullptr;
    stream->capture_frontier.clear();
  }
  capture->streams.clear();
  capture->origin = nullptr;
  std::erase(m.captures, capture);
}

}  // namespace

void invalidate(const std::shared_ptr<Capture>& capture) {
  capture->is_invalid = true;
}

Added add_work(Machine& machine, Lock& lock, const StreamPointer& stream, double latency_seconds, Work work) {
  if (stream->capture) return capture_work(*stream, std::move(work));
  if (is_legacy(machine, stream)) {
    if (const cudaError_t error = refuse_legacy(machine, stream)) return {error, nullptr};
  }
  const OperationPointer operation = add_operation(machine, stream->lane, machine.now + latency_seconds,
                                                   std::move(work), legacy_dependencies(machine, stream));
  let_effects_happen(machine, lock);
  return {cudaSuccess, operation};
}

cudaError_t refuse_in_capture(Machine& machine) {
  cudaError_t error = cudaSuccess;
  for (const auto& capture : machine.captures) {
    if (!forbids_this_thread(*capture)) continue;
    invalidate(capture);
    error = cudaErrorStreamCaptureUnsupported;
  }
  return error;
}

cudaError_t refuse_waiting(Machine& machine, const StreamPointer& stream) {
  if (stream->capture) {
    invalidate(stream->capture);
    return cudaErrorStreamCaptureUnsupported;
  }
  if (is_legacy(machine, stream)) {
    if (const cudaError_t error = refuse_legacy(machine, stream)) return error;
  }
  return refuse_in_capture(machine);
}

}  // namespace sluice::simt

using namespace sluice::simt;

extern "C" {

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  Call call("cudaThreadExchangeStreamCaptureMode");
  if (const cudaError_t error = call.refusal()) return error;
  if (mode == nullptr) return call.done(cudaErrorInvalidValue);
  std::swap(*mode, mode_of_thread());
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  Call call("cudaStreamBeginCapture");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  const StreamPointer stream = find_stream(m, handle);
  if (!stream) return call.done(cudaErrorInvalidResourceHandle);
  if (mode < cudaStreamCaptureModeGlobal || mode > cudaStreamCaptureModeRelaxed)
    return call.done(cudaErrorInvalidValue);
  if (is_legacy(m, stream)) return call.done(cudaErrorStreamCaptureUnsupported);
  if (stream->capture) {
    invalidate(stream->capture);
    return call.done(cudaErrorIllegalState);
  }
  auto capture = std::make_shared<Capture>();
  capture->origin = stream;
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  capture->id = ++m.n_captures;
  capture->graph.n_lanes = 1;
  capture->streams.push_back(stream);
  m.captures.push_back(capture);
  stream->capture = std::move(capture);
  stream->capture_frontier.clear();
  stream->capture_lane = 0;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  Call call("cudaStreamEndCapture");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  const StreamPointer stream = find_stream(m, handle);
  if (!stream) return call.done(cudaErrorInvalidResourceHandle);
  if (graph == nullptr) return call.done(cudaErrorInvalidValue);
  *graph = nullptr;
  const std::shared_ptr<Capture> capture = stream->capture;
  if (!capture) return call.done(cudaErrorIllegalState);
  if (capture->origin != stream) {
    invalidate(capture);
    return call.done(cudaErrorStreamCaptureUnmatched);
  }
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id()) {
    return call.done(cudaErrorStreamCaptureWrongThread);
  }
  const std::vector<int> frontier = stream->capture_frontier;
  end_capture(m, capture);
  if (capture->is_invalid) return call.done(cudaErrorStreamCaptureInvalidated);
  if (!is_joined(capture->graph, frontier)) return call.done(cudaErrorStreamCaptureUnjoined);
  const uintptr_t made = new_handle(m);
  m.graphs[made] = std::make_shared<Graph>(std::move(capture->graph));
  *graph = reinterpret_cast<cudaGraph_t>(made);
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  Call call("cudaStreamIsCapturing");
  if (const cudaError_t error = call.refusal()) return error;
  const StreamPointer stream = find_stream(call.m(), handle);
  if (!stream) return call.done(cudaErrorInvalidResourceHandle);
  if (status == nullptr) return call.done(cudaErrorInvalidValue);
  *status = !stream->capture              ? cudaStreamCaptureStatusNone
            : stream->capture->is_invalid ? cudaStreamCaptureStatusInvalidated
                                          : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

// Without the graph under way and its edges.
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t handle, cudaStreamCaptureStatus* status, unsigned long long* id,
                                     cudaGraph_t* graph, const cudaGraphNode_t** dependencies,
                                     const cudaGraphEdgeData** edges, size_t* n_dependencies) {
  Call call("cudaStreamGetCaptureInfo");
  if (const cudaError_t error = call.refusal()) return error;
  const StreamPointer stream = find_stream(call.m(), handle);
  if (!stream) return call.done(cudaErrorInvalidResourceHandle);
  if (status == nullptr) return call.done(cudaErrorInvalidValue);
  if (graph != nullptr || dependencies != nullptr || edges != nullptr || n_dependencies != nullptr) {
    return call.misuse(cudaErrorNotSupported,
                       "the emulation tells only whether a stream captures, and which capture it is");
  }
  *status = !stream->capture              ? cudaStreamCaptureStatusNone
            : stream->capture->is_invalid ? cudaStreamCaptureStatusInvalidated
                                          : cudaStreamCaptureStatusActive;
  if (id != nullptr && stream->capture) *id = stream->capture->id;
  return cudaSuccess;
}

}  // extern "C"
