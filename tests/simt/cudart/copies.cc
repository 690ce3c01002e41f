// Copies and fills.
#include <algorithm>
#include <cstring>

#include "tests/simt/cudart/machine.h"
#include "tests/simt/runtime/findings.h"
#include "tests/simt/runtime/memory_map.h"

namespace sluice::simt {
namespace {

struct Rectangle {
  std::byte* to = nullptr;
  size_t to_pitch = 0;
  const std::byte* from = nullptr;
  size_t from_pitch = 0;
  size_t width = 0, height = 1;  // bytes, rows

  static size_t reach(size_t pitch, size_t width, size_t height) { return (height - 1) * pitch + width; }
};

struct Side {
  cudaError_t error = cudaSuccess;
  std::string mistake;  // where there is an error
  bool is_device = false, is_pinned = false;
  int device = 0;
};

Side look_at(Machine& m, const void* pointer, size_t bytes) {
  Side side;
  const auto found = find_record(m, pointer);
  if (found) {
    side.is_device = found->record->kind == MemoryRecord::Kind::Device;
    side.is_pinned = !side.is_device;
    side.device = found->record->device;
    if (!is_usable(m, pointer, bytes)) {
      side.error = cudaErrorInvalidValue;
      side.mistake = std::to_string(bytes) + " bytes reach past the end of " + (side.is_device ? "device" : "pinned") +
                     " memory of " + std::to_string(found->record->bytes) + " bytes";
    }
  } else if (find_memory(pointer)) {
    side.error = cudaErrorInvalidValue;
    side.mistake = "memory that was freed, or beside an allocation";
  }
  return side;
}

cudaMemcpyKind kind_of(const Side& from, const Side& to) {
  if (from.is_device) return to.is_device ? cudaMemcpyDeviceToDevice : cudaMemcpyDeviceToHost;
  return to.is_device ? cudaMemcpyHostToDevice : cudaMemcpyHostToHost;
}

void set_times(const Machine& m, Work& work, const Side& from, const Side& to, bool is_pageable) {
  const GpuOptions& options = m.options;
  const auto bytes = static_cast<double>(work.bytes);
  const auto& source = options.devices[static_cast<size_t>(from.device)];
  const auto& target = options.devices[static_cast<size_t>(to.device)];
  const double link = options.shared_link_bytes_per_second;
  const auto shared = [&](double n_bytes) { return link > 0 ? n_bytes / link : 0; };
  switch (work.copy_kind) {
    case cudaMemcpyHostToDevice:
      work.engine = Engine::HostToDevice;
      work.device = to.device;
      work.seconds = options.host_to_device_seconds ? options.host_to_device_seconds(work.bytes)
                                                    : bytes / target.host_to_device_bytes_per_second;
      work.link_seconds = shared(bytes);
      break;
    case cudaMemcpyDeviceToHost:
      work.engine = Engine::DeviceToHost;
      work.device = from.device;
      work.seconds = bytes / (is_pageable ? options.pageable_bytes_per_second : source.device_to_host_bytes_per_second);
      work.link_seconds = shared(bytes);
      break;
    case cudaMemcpyDeviceToDevice:
      work.device = from.device;
      if (from.device == to.device) {
        work.engine = Engine::Compute;
        work.seconds = 2 * bytes / source.device_bytes_per_second;
        break;
      }
      // Over the bus; without peer access by way of the host's memory.
      work.engine = Engine::DeviceToHost;
      if (m.devices[static_cast<size_t>(from.device)].has_peer_access[static_cast<size_t>(to.device)] ||
          m.devices[static_cast<size_t>(to.device)].has_peer_access[static_cast<size_t>(from.device)]) {
        work.seconds = bytes / std::min(source.device_to_host_bytes_per_second, target.host_to_device_bytes_per_second);
        work.link_seconds = shared(bytes);
      } else {
        work.seconds = bytes / source.device_to_host_bytes_per_second + bytes / target.host_to_device_bytes_per_second;
        work.link_seconds = shared(2 * bytes);
      }
      break;
    default:
      work.seconds = bytes / options.pageable_bytes_per_second;
  }
}

std::string name_of(cudaMemcpyKind kind, uint64_t bytes) {
  static const char* const names[] = {"host to host", "host to device", "device to host", "device to device"};
  return "copy " + std::string(names[kind]) + ", " + std::to_string(bytes) + " bytes";
}

// Memory of graphs may be gone when they run.
bool is_still_there(const Rectangle& area, bool checks_to, bool checks_from) {
  Machine& m = machine();
  const Lock lock(m.mutex);
  const size_t to_bytes = Rectangle::reach(area.to_pitch, area.width, area.height);
  const size_t from_bytes = Rectangle::reach(area.from_pitch, area.width, area.height);
  if ((!checks_to || is_usable(m, area.to, to_bytes)) && (!checks_from || is_usable(m, area.from, from_bytes)))
    return true;
  report_finding("misuse of the runtime: a copy or fill uses memory that was freed before it ran");
  return false;
}

void move_bytes(const Rectangle& area) {
  for (size_t row = 0; row < area.height; ++row) {
    std::memmove(area.to + row * area.to_pitch, area.from + row * area.from_pitch, area.width);
  }
}

cudaError_t run_copy(const Rectangle& area, bool checks_to, bool checks_from) {
  if (!is_still_there(area, checks_to, checks_from)) return cudaErrorIllegalAddress;
  move_bytes(area);
  return cudaSuccess;
}

std::vector<MemoryRange> ranges_of(const Rectangle& area, bool has_source) {
  std::vector<MemoryRange> ranges;
  for (size_t row = 0; row < area.height; ++row) {
    if (has_source) ranges.push_back({area.from + row * area.from_pitch, area.width, false});
    ranges.push_back({area.to + row * area.to_pitch, area.width, true});
  }
  return ranges;
}

struct Request {
  Rectangle area;
  cudaMemcpyKind kind = cudaMemcpyDefault;
  bool is_synchronous = false;
};

cudaError_t copy(Call& call, const Request& request, cudaStream_t stream_handle) {
  Machine& m = call.m();
  const Rectangle& area = request.area;
  const StreamPointer stream = find_stream(m, stream_handle);
  if (!stream) return call.done(cudaErrorInvalidResourceHandle);
  if (request.kind < cudaMemcpyHostToHost || request.kind > cudaMemcpyDefault) {
    return call.done(cudaErrorInvalidMemcpyDirection);
  }
  if (request.is_synchronous) {
    if (const cudaError_t error = refuse_in_capture(m)) return call.done(error);
  }
  if (const cudaError_t error = next_fault(m, FaultPoint::Copy)) return call.done(error);
  if (area.width == 0 || area.height == 0) return cudaSuccess;
  if (area.to == nullptr || area.from == nullptr) return call.done(cudaErrorInvalidValue);
  if (area.height > 1 && (area.to_pitch < area.width || area.from_pitch < area.width)) {
    return call.done(cudaErrorInvalidPitchValue);
  }
  const Side to = look_at(m, area.to, Rectangle::reach(area.to_pitch, area.width, area.height));
  const Side from = look_at(m, area.from, Rectangle::reach(area.from_pitch, area.width, area.height));
  if (to.error) return call.misuse(to.error, "the target: " + to.mistake);
  if (from.error) return call.misuse(from.error, "the source: " + from.mistake);

  Work work;
  work.kind = WorkKind::Copy;
  work.copy_kind = kind_of(from, to);
  if (request.kind != cudaMemcpyDefault && request.kind != work.copy_kind) {
    return call.misuse(cudaErrorInvalidValue, "the kind of copy does not fit the pointers");
  }
  work.device = stream->device;
  work.bytes = uint64_t{area.width} * area.height;
  work.name = name_of(work.copy_kind, work.bytes);
  const bool is_pageable = (!from.is_device && !from.is_pinned) || (!to.is_device && !to.is_pinned);
  set_times(m, work, from, to, is_pageable);
  const bool is_captured = stream->capture != nullptr;
  const bool is_staged = is_pageable && work.copy_kind == cudaMemcpyHostToDevice && !is_captured;
  if (request.is_synchronous) {
    for (const OperationPointer& before : legacy_dependencies(m, stream)) wait_for(m, call.lock(), before);
  }
  if (is_pageable && !request.is_synchronous) {
    m.notes.push_back(std::string(call.name()) + ": pageable memory, so the call waits: " + work.name);
  }
  work.ranges = ranges_of(area, !is_staged);
  const bool checks_to = to.is_device || to.is_pinned, checks_from = from.is_device || from.is_pinned;
  if (is_staged) {
    // The host copies to memory of the driver's, and the call is done when that is done, not when the data are there.
    m.now += static_cast<double>(work.bytes) / m.options.pageable_bytes_per_second;
    auto staging = std::make_shared<std::vector<std::byte>>(work.bytes);
    Rectangle staged{staging->data(), area.width, area.from, area.from_pitch, area.width, area.height};
    move_bytes(staged);
    staged = {area.to, area.to_pitch, staging->data(), area.width, area.width, area.height};
    work.effect = [staging, staged, checks_to] { return run_copy(staged, checks_to, false); };
  } else {
    work.effect = [area, checks_to, checks_from] { return run_copy(area, checks_to, checks_from); };
  }
  const bool is_inside = work.copy_kind == cudaMemcpyDeviceToDevice;  // of which the host hears nothing
  const Added added = add_work(m, call.lock(), stream, m.options.copy_latency_seconds, std::move(work));
  if (added.error) return call.done(added.error);
  if (added.operation && !is_staged && !is_inside && (request.is_synchronous || is_pageable)) {
    wait_for(m, call.lock(), added.operation);
  }
  return call.done(m.devices[static_cast<size_t>(stream->device)].died_of);
}

cudaError_t fill(Call& call, void* pointer, int value, size_t bytes, cudaStream_t stream_handle, bool is_synchronous) {
  Machine& m = call.m();
  const StreamPointer stream = find_stream(m, stream_handle);
  if (!stream) return call.done(cudaErrorInvalidResourceHandle);
  if (is_synchronous) {
    if (const cudaError_t error = refuse_in_capture(m)) return call.done(error);
  }
  if (bytes == 0) return cudaSuccess;
  const Side to = look_at(m, pointer, bytes);
  if (to.error) return call.misuse(to.error, to.mistake);
  if (!to.is_device && !to.is_pinned) return call.misuse(cudaErrorInvalidValue, "memory that no device can reach");
  Work work;
  work.kind = WorkKind::Fill;
  work.name = "fill, " + std::to_string(bytes) + " bytes";
  work.device = to.is_device ? to.device : stream->device;
  work.engine = Engine::Compute;
  work.bytes = bytes;
  work.seconds =
      static_cast<double>(bytes) / m.options.devices[static_cast<size_t>(work.device)].device_bytes_per_second;
  auto* data = static_cast<std::byte*>(pointer);
  work.ranges = {{data, bytes, true}};
  work.effect = [data, value, bytes] {
    if (!is_still_there({data, bytes, data, bytes, bytes, 1}, true, false)) return cudaErrorIllegalAddress;
    std::memset(data, value, bytes);
    return cudaSuccess;
  };
  const bool waits = is_synchronous && !to.is_device;  // a fill of device memory is asynchronous in any case
  const Added added = add_work(m, call.lock(), stream, m.options.launch_latency_seconds, std::move(work));
  if (added.error) return call.done(added.error);
  if (added.operation && waits) wait_for(m, call.lock(), added.operation);
  return call.done(m.devices[static_cast<size_t>(stream->device)].died_of);
}

Rectangle line(void* to, const void* from, size_t bytes) {
  return {static_cast<std::byte*>(to), bytes, static_cast<const std::byte*>(from), bytes, bytes, 1};
}

}  // namespace
}  // namespace sluice::simt

using namespace sluice::simt;

extern "C" {

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  Call call("cudaMemcpy");
  if (const cudaError_t error = call.refusal()) return error;
  return copy(call, {line(to, from, bytes), kind, true}, nullptr);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  Call call("cudaMemcpyAsync");
  if (const cudaError_t error = call.refusal()) return error;
  return copy(call, {line(to, from, bytes), kind, false}, stream);
}

cudaError_t cudaMemcpy2D(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height,
                         cudaMemcpyKind kind) {
  Call call("cudaMemcpy2D");
  if (const cudaError_t error = call.refusal()) return error;
  const Rectangle area{
      static_cast<std::byte*>(to), to_pitch, static_cast<const std::byte*>(from), from_pitch, width, height};
  return copy(call, {area, kind, true}, nullptr);
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  Call call("cudaMemcpy2DAsync");
  if (const cudaError_t error = call.refusal()) return error;
  const Rectangle area{
      static_cast<std::byte*>(to), to_pitch, static_cast<const std::byte*>(from), from_pitch, width, height};
  return copy(call, {area, kind, false}, stream);
}

cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device, size_t bytes,
                                cudaStream_t stream) {
  Call call("cudaMemcpyPeerAsync");
  if (const cudaError_t error = call.refusal()) return error;
  const int n_devices = static_cast<int>(call.m().devices.size());
  if (to_device < 0 || to_device >= n_devices || from_device < 0 || from_device >= n_devices) {
    return call.done(cudaErrorInvalidDevice);
  }
  const auto lies_on = [&](const void* pointer, int device) {
    const auto found = find_record(call.m(), pointer);
    return !found || found->record->kind != MemoryRecord::Kind::Device || found->record->device == device;
  };
  if (!lies_on(to, to_device) || !lies_on(from, from_device)) {
    return call.misuse(cudaErrorInvalidValue, "the memory lies on another device than it says");
  }
  return copy(call, {line(to, from, bytes), cudaMemcpyDeviceToDevice, false}, stream);
}

cudaError_t cudaMemset(void* pointer, int value, size_t bytes) {
  Call call("cudaMemset");
  if (const cudaError_t error = call.refusal()) return error;
  return fill(call, pointer, value, bytes, nullptr, true);
}

cudaError_t cudaMemsetAsync(void* pointer, int value, size_t bytes, cudaStream_t stream) {
  Call call("cudaMemsetAsync");
  if (const cudaError_t error = call.refusal()) return error;
  return fill(call, pointer, value, bytes, stream, false);
}

}  // extern "C"
