#include <algorithm>

#include "tests/simt/cudart/machine.h"
#include "tests/simt/runtime/findings.h"

namespace sluice::simt {
namespace {

constexpr int kGreatestPriority = -5, kLeastPriority = 0;

cudaError_t create(Call& call, cudaStream_t* stream, unsigned flags, int priority) {
  Machine& m = call.m();
  if (stream == nullptr || (flags & ~unsigned{cudaStreamNonBlocking}) != 0) return call.done(cudaErrorInvalidValue);
  if (const cudaError_t error = next_fault(m, FaultPoint::StreamCreate)) return call.done(error);
  auto made = std::make_shared<Stream>();
  made->device = current_device();
  made->flags = flags;
  made->priority = std::clamp(priority, kGreatestPriority, kLeastPriority);
  made->lane = take_lane(m, made->device, made->priority);
  const uintptr_t handle = new_handle(m);
  m.streams[handle] = made;
  *stream = reinterpret_cast<cudaStream_t>(handle);
  return cudaSuccess;
}

OperationPointer last_of(Machine& m, const StreamPointer& stream) {
  return m.lanes[static_cast<size_t>(stream->lane)].last;
}

}  // namespace

StreamPointer find_stream(Machine& machine, cudaStream_t stream) {
  if (stream == nullptr || stream == cudaStreamLegacy) {
    return machine.devices[static_cast<size_t>(current_device())].legacy_stream;
  }
  const auto handle = reinterpret_cast<uintptr_t>(stream);
  const auto found = machine.streams.find(handle);
  if (found != machine.streams.end()) return found->second;
  report_finding(stream == cudaStreamPerThread
                     ? "misuse of the runtime: the emulation has no default streams of threads"
                     : "misuse of the runtime: a stream that was destroyed, or never was");
  return nullptr;
}

std::vector<OperationPointer> legacy_dependencies(Machine& machine, const StreamPointer& stream) {
  const StreamPointer& legacy = machine.devices[static_cast<size_t>(stream->device)].legacy_stream;
  if (stream != legacy) {
    if ((stream->flags & cudaStreamNonBlocking) != 0) return {};
    return {last_of(machine, legacy)};
  }
  std::vector<OperationPointer> all{last_of(machine, legacy)};
  for (const auto& [handle, other] : machine.streams) {
    if (other->device == stream->device && (other->flags & cudaStreamNonBlocking) == 0) {
      all.push_back(last_of(machine, other));
    }
  }
  return all;
}

}  // namespace sluice::simt

using namespace sluice::simt;

extern "C" {

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  Call call("cudaStreamCreate");
  if (const cudaError_t error = call.refusal()) return error;
  return create(call, stream, cudaStreamDefault, 0);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  Call call("cudaStreamCreateWithFlags");
  if (const cudaError_t error = call.refusal()) return error;
  return create(call, stream, flags, 0);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int priority) {
  Call call("cudaStreamCreateWithPriority");
  if (const cudaError_t error = call.refusal()) return error;
  return create(call, stream, flags, priority);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  Call call("cudaDeviceGetStreamPriorityRange");
  if (const cudaError_t error = call.refusal()) return error;
  if (least != nullptr) *least = kLeastPriority;
  if (greatest != nullptr) *greatest = kGreatestPriority;
  return cudaSuccess;
}

cudaError_t cudaStreamGetPriority(cudaStream_t handle, int* priority) {
  Call call("cudaStreamGetPriority");
  if (const cudaError_t error = call.refusal()) return error;
  const StreamPointer stream = find_stream(call.m(), handle);
  if (!stream) return call.done(cudaErrorInvalidResourceHandle);
  if (priority == nullptr) return call.done(cudaErrorInvalidValue);
  *priority = stream->priority;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  Call call("cudaStreamDestroy", {.works_on_dead_device = true});
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  const StreamPointer stream = find_stream(m, handle);
  if (!stream || m.streams.erase(reinterpret_cast<uintptr_t>(handle)) == 0) {
    return call.done(cudaErrorInvalidResourceHandle);
  }
  if (stream->capture) invalidate(stream->capture);
  give_lane_back(m, stream->lane);  // its work goes on
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  Call call("cudaStreamSynchronize");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  const StreamPointer stream = find_stream(m, handle);
  if (!stream) return call.done(cudaErrorInvalidResourceHandle);
  if (const cudaError_t error = refuse_waiting(m, stream)) return call.done(error);
  const int device = stream->device;
  for (const OperationPointer& before : legacy_dependencies(m, stream)) {
    if (stream == m.devices[static_cast<size_t>(device)].legacy_stream) wait_for(m, call.lock(), before);
  }
  wait_for(m, call.lock(), last_of(m, stream));
  return call.done(m.devices[static_cast<size_t>(device)].died_of);
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  Call call("cudaStreamQuery");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  const StreamPointer stream = find_stream(m, handle);
  if (!stream) return call.done(cudaErrorInvalidResourceHandle);
  if (const cudaError_t error = refuse_waiting(m, stream)) return call.done(error);
  if (m.options.effects == Effects::Eager) let_effects_happen(m, call.lock());
  const bool is_done = has_ended(m, call.lock(), last_of(m, stream));
  if (const cudaError_t error = m.devices[static_cast<size_t>(stream->device)].died_of) return call.done(error);
  return is_done ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaDeviceSynchronize() {
  Call call("cudaDeviceSynchronize");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  if (const cudaError_t error = refuse_in_capture(m)) return call.done(error);
  const int device = current_device();
  wait_for_device(m, call.lock(), device);
  return call.done(m.devices[static_cast<size_t>(device)].died_of);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void* data) {
  Call call("cudaLaunchHostFunc");
  if (const cudaError_t error = call.refusal()) return error;
  Machine& m = call.m();
  const StreamPointer stream = find_stream(m, handle);
  if (!stream) return call.done(cudaErrorInvalidResourceHandle);
  if (function == nullptr) return call.done(cudaErrorInvalidValue);
  Work work;
  work.kind = WorkKind::HostFunction;
  work.name = "host function";
  work.device = stream->device;
  work.seconds = m.options.host_function_seconds;
  work.effect = [function, data] {
    function(data);
    return cudaSuccess;
  };
  return call.done(add_work(m, call.lock(), stream, 0, std::move(work)).error);
}

}  // extern "C"
