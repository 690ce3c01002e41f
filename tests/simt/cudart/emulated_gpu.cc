#include "tests/simt/cudart/emulated_gpu.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "tests/simt/cudart/machine.h"
#include "tests/simt/runtime/findings.h"
#include "tests/simt/runtime/memory_map.h"

namespace sluice::simt {
namespace {

void set_up(Machine& m, GpuOptions options) {
  m.options = std::move(options);
  m.random.seed(m.options.seed);
  m.lanes.resize(1);
  m.lanes[0].in_use = true;
  m.devices.resize(m.options.devices.size());
  for (size_t i = 0; i < m.devices.size(); ++i) {
    Device& device = m.devices[i];
    device.used_bytes = m.options.devices[i].context_bytes;
    device.has_peer_access.resize(m.devices.size());
    device.legacy_stream = std::make_shared<Stream>();
    device.legacy_stream->device = static_cast<int>(i);
    device.legacy_stream->lane = take_lane(m, static_cast<int>(i), 0);
  }
  start_background(m);
}

// Chains of operations may be long: they are taken apart link by link, not by the destructor of the last one.
void drop_operations(Machine& m) {
  for (Lane& lane : m.lanes) {
    std::vector<OperationPointer> all(lane.pending.begin(), lane.pending.end());
    all.insert(all.end(), lane.untimed.begin(), lane.untimed.end());
    for (const OperationPointer& operation : all) operation->dependencies.clear();
  }
}

void tear_down(Machine& m) {
  drop_operations(m);
  for (const auto& [base, record] : m.memory) {
    if (record.is_live) free_memory(reinterpret_cast<std::byte*>(base));
  }
  m.memory.clear();
  m.streams.clear();
  m.events.clear();
  m.graphs.clear();
  m.instantiated.clear();
  m.captures.clear();
  m.devices.clear();
  m.lanes.clear();
  m.host_clock.clear();
  m.value_writers.clear();
  m.watched.clear();
  m.n_watched_before = 0;
  m.accesses.clear();
  m.faults.clear();
  m.trace.clear();
  m.notes.clear();
  m.now = 0;
  m.link_free = 0;
}

// Of programs that reset nothing: SIMT_DEVICES equal devices, or one.
GpuOptions first_options() {
  constexpr long kMost = 4;
  GpuOptions options;
  if (const char* n = std::getenv("SIMT_DEVICES"))
    options.devices.resize(static_cast<size_t>(std::clamp(std::strtol(n, nullptr, 10), 1L, kMost)));
  return options;
}

Machine* make_machine() {
  auto* m = new Machine;  // for the program's whole life: kernels are registered before main, and let go after it
  set_up(*m, first_options());
  return m;
}

}  // namespace

Machine& machine() {
  static Machine* const the_machine = make_machine();
  return *the_machine;
}

uintptr_t new_handle(Machine& machine) {
  return machine.next_handle += 16;
}

void reset_emulated_gpu(GpuOptions options) {
  if (options.devices.empty() || options.devices.size() > 4) {
    throw std::invalid_argument("the emulated machine has 1 to 4 devices, not " +
                                std::to_string(options.devices.size()));
  }
  Machine& m = machine();
  stop_background(m);
  const Lock lock(m.mutex);
  tear_down(m);
  set_up(m, std::move(options));
  current_device() = 0;
  last_error() = cudaSuccess;
}

double host_seconds() {
  Machine& m = machine();
  const Lock lock(m.mutex);
  return m.now;
}

void advance_host(double seconds) {
  if (is_in_host_function()) {
    host_function_work() += seconds;
    return;
  }
  Machine& m = machine();
  const Lock lock(m.mutex);
  m.now += seconds;
}

void do_beside_host(const std::function<void()>& work) {
  const double now = host_seconds();
  work();
  Machine& m = machine();
  const Lock lock(m.mutex);
  m.now = now;
}

std::vector<Span> take_trace() {
  Machine& m = machine();
  Lock lock(m.mutex);
  pass_time(m, lock, m.now, nullptr);
  std::vector<Span> trace = std::move(m.trace);
  m.trace.clear();
  std::stable_sort(trace.begin(), trace.end(), [](const Span& a, const Span& b) { return a.start < b.start; });
  return trace;
}

std::vector<std::string> take_performance_notes() {
  Machine& m = machine();
  const Lock lock(m.mutex);
  std::vector<std::string> notes = std::move(m.notes);
  m.notes.clear();
  return notes;
}

void report_leaks() {
  Machine& m = machine();
  const Lock lock(m.mutex);
  for (const auto& [base, record] : m.memory) {
    if (!record.is_live) continue;
    const char* what = record.kind == MemoryRecord::Kind::Device   ? " bytes of device memory"
                       : record.kind == MemoryRecord::Kind::Pinned ? " bytes of pinned memory"
                                                                   : " bytes that are still registered";
    report_finding("leak: " + std::to_string(record.bytes) + what);
  }
  const auto report = [](size_t n, const char* what) {
    if (n > 0) report_finding("leak: " + std::to_string(n) + what);
  };
  report(m.streams.size(), " streams");
  report(m.events.size(), " events");
  report(m.graphs.size(), " graphs");
  report(m.instantiated.size(), " instantiated graphs");
}

}  // namespace sluice::simt
