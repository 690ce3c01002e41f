#include <algorithm>

#include "tests/simt/cudart/machine.h"
#include "tests/simt/runtime/findings.h"

namespace sluice::simt {
namespace {

constexpr unsigned kKnownFlags = cudaEventBlockingSync | cudaEventDisableTiming | cudaEventInterprocess;

cudaError_t create(Call& call, cudaEvent_t* event, unsigned flags) {
  Machine& m = call.m();
  const bool is_shared_with_timing = (flags & cudaEventInterprocess) != 0 && (flags & cudaEventDisableTiming) == 0;
  if (event == nullptr || (flags & ~kKnownFlags) != 0 || is_shared_with_timing) return call.done(cudaErrorInvalidValue);
  if (const cudaError_t error = next_fault(m, FaultPoint::EventCreate)) return call.done(error);
  auto made = std::make_shared<Event>();
  made->device = current_device();
  made->flags = flags;
  const uintptr_t handle = new_handle(m);
  m.events[handle] = std::move(made);
  *event = reinterpret_cast<cudaEvent_t>(handle);
  return cudaSuccess;
}

cudaError_t record(Call& call, cudaEvent_t event_handle, cudaStream_t stream_handle) {
  Machine& m = call.m();
  const EventPointer event = find_event(m, event_handle);
  const StreamPointer stream = find_stream(m, stream_handle);
  if (!event || !stream || event->device != stream->device) return call.done(cudaErrorInvalidResourceHandle);
  if (stream->capture) {
    if (stream->capture->is_invalid) return call.done(cudaErrorStreamCaptureInvalidated);
    event->capture = stream->capture;
    event->capture_frontier = stream->capture_frontier;
    event->operation = nullptr;
    return cudaSuccess;
  }
  Work work;
  work.name = "event";
  work.device = stream->device;
  const Added added = add_work(m, call.lock(), stream, 0, std::move(work));
  if (added.error) return call.done(added.error);
  event->operation = added.operation;
  event->capture = nullptr;
  return cudaSuccess;
}

// The stream takes part in the capture that the event was recorded in.
cudaError_t wait_in_capture(Machine& m, const StreamPointer& stream, const Event& event) {
  const std::shared_ptr<Capture>& capture = event.capture;
  if (!capture->is_active) return cudaErrorCapturedEvent;
  if (capture->is_invalid) return cudaErrorStreamCaptureInvalidated;
  if (stream == m.devices[static_cast<size_t>(stream->device)].legacy_stream) {
    invalidate(capture);
    return cudaErrorStreamCaptureImplicit;
  }
  if (!stream->capture) {
    stream->capture = capture;
    stream->capture_frontier = event.capture_frontier;
    stream->capture_lane = capture->graph.n_lanes++;
    capture->streams.push_back(stream);
    return cudaSuccess;
  }
  if (stream->capture != capture) {
    invalidate(capture);
    invalidate(stream->capture);
    return cudaErrorStreamCaptureMerge;
  }
  std::vector<int>& frontier = stream->capture_frontier;
  for (const int node : event.capture_frontier) {
    if (std::find(frontier.begin(), frontier.end(), node) == frontier.end()) frontier.push_back(node);
  }
  return cudaSuccess;
}

// A query of, or wait for, an event by the host.
cudaError_t refuse_event(Machine& m, const Event& event) {
  if (event.capture) {
    if (event.capture->is_active) invalidate(event.capture);
    return cudaErrorCapturedEvent;
  }
  return refuse_in_capture(m);
}

}  // namespace

EventPointer find_event(Machine& machine, cudaEvent_t event) {
  const auto found = machine.events.find(reinterpret_cast<uintptr_t>(event));
  if (found != machine.events.end()) return found->second;
  report_finding("misuse of the runtime: an event that was destroyed, or never was");
  return nullptr;
}

}  // namespace sluice::simt

using namespace sluice::simt;

extern "C" {

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  Call call("cudaEventCreate");
  if (const cudaError_t error = call.refusal()) return error;
  return create(call, event, cudaEventDefault);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  Call call("cudaEventCreateWithFlags");
  if (const cudaError_t error = call.refusal()) return error;
  return create(call, event, flags);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  Call call("cudaEventDestroy", {.works_on_dead_device = true});
  if (const cudaError_t error = call.refusal()) return error;
  if (!find_event(call.m(), event)) return call.done(cudaErrorInvalidResourceHandle);
  call.m().events.erase(reinterpret_cast<uintptr_t>(event));
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  Call call("cudaEventRecord");
  if (const cudaError_t error = call.refusal()) return error;
  return record(call, event, stream);
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
  Call call("cudaEventRecordWithFlags");
  if (const cudaError_t error = call.refusal()) return error;
  if (flags != cudaEventRecordDefault)
    return call.misuse(cudaErrorNotSupported, "the emulation has no external events");
  return record(call, event, stream);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream_handle, cudaEvent_t event_handle, unsigned flags) {
  Call call("cudaStreamWaitEvent");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  const StreamPointer stream = find_stream(m, stream_handle);
  const EventPointer event = find_event(m, event_handle);
  if (!stream || !event) return call.done(cudaErrorInvalidResourceHandle);
  if (flags != cudaEventWaitDefault) return call.misuse(cudaErrorNotSupported, "the emulation has no external events");
  if (event->capture) return call.done(wait_in_capture(m, stream, *event));
  if (stream->capture) {
    if (stream->capture->is_invalid) return call.done(cudaErrorStreamCaptureInvalidated);
    if (!event->operation) return cudaSuccess;
    invalidate(stream->capture);
    return call.done(cudaErrorStreamCaptureIsolation);
  }
  if (!event->operation) return cudaSuccess;  // never recorded: nothing to wait for
  if (m.options.forgets_wait && m.options.forgets_wait(reinterpret_cast<uintptr_t>(stream_handle))) return cudaSuccess;
  std::vector<OperationPointer> before = legacy_dependencies(m, stream);
  before.push_back(event->operation);
  Work work;
  work.name = "wait for an event";
  work.device = stream->device;
  add_operation(m, stream->lane, m.now, std::move(work), std::move(before));
  let_effects_happen(m, call.lock());
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  Call call("cudaEventSynchronize");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  const EventPointer event = find_event(m, handle);
  if (!event) return call.done(cudaErrorInvalidResourceHandle);
  if (const cudaError_t error = refuse_event(m, *event)) return call.done(error);
  wait_for(m, call.lock(), OperationPointer(event->operation));
  return call.done(m.devices[static_cast<size_t>(event->device)].died_of);
}

cudaError_t cudaEventQuery(cudaEvent_t handle) {
  Call call("cudaEventQuery");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  const EventPointer event = find_event(m, handle);
  if (!event) return call.done(cudaErrorInvalidResourceHandle);
  if (const cudaError_t error = refuse_event(m, *event)) return call.done(error);
  const bool is_done = has_ended(m, call.lock(), OperationPointer(event->operation));
  if (const cudaError_t error = m.devices[static_cast<size_t>(event->device)].died_of) return call.done(error);
  return is_done ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start_handle, cudaEvent_t end_handle) {
  Call call("cudaEventElapsedTime");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  const EventPointer start = find_event(m, start_handle), end = find_event(m, end_handle);
  if (milliseconds == nullptr) return call.done(cudaErrorInvalidValue);
  if (!start || !end) return call.done(cudaErrorInvalidResourceHandle);
  for (const EventPointer& event : {start, end}) {
    if (event->capture) return call.done(refuse_event(m, *event));
    if (!event->operation || (event->flags & cudaEventDisableTiming) != 0 || event->device != start->device) {
      return call.done(cudaErrorInvalidResourceHandle);
    }
  }
  const OperationPointer from = start->operation, to = end->operation;
  if (!has_ended(m, call.lock(), from) || !has_ended(m, call.lock(), to)) return call.done(cudaErrorNotReady);
  *milliseconds = static_cast<float>((to->end - from->end) * 1e3);
  return cudaSuccess;
}

}  // extern "C"
