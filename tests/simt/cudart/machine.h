// The state of the emulated machine, inside the emulated runtime. One mutex guards all of it; the effects of operations (kernels,
// copies, host functions) run without it.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/simt/cudart/emulated_gpu.h"
#include "tests/simt/cudart/operation.h"

namespace sluice::simt {

using Lock = std::unique_lock<std::mutex>;

// Operations of a lane follow one another: a stream, or one branch of an instantiated graph. Lane 0 is the host's: what it touches.
struct Lane {
  uint32_t n_operations = 0;  // since the machine was made: lanes are used again, their counts go on
  OperationPointer last;
  std::deque<OperationPointer> untimed;  // without start and end yet
  std::deque<OperationPointer> pending;  // without effect yet
  int priority = 0;                      // lower goes first
  int device = 0;
  bool in_use = false;
};

struct Capture;

struct Stream {
  int device = 0;
  int lane = 0;
  unsigned flags = 0;
  int priority = 0;
  std::shared_ptr<Capture> capture;   // null: not capturing
  std::vector<int> capture_frontier;  // nodes that the next one of this stream follows
  int capture_lane = 0;
};
using StreamPointer = std::shared_ptr<Stream>;

struct Event {
  int device = 0;
  unsigned flags = 0;
  OperationPointer operation;        // the record; null: never recorded
  std::shared_ptr<Capture> capture;  // recorded in this capture, after these nodes
  std::vector<int> capture_frontier;
};
using EventPointer = std::shared_ptr<Event>;

struct Device {
  std::shared_ptr<Stream> legacy_stream;
  uint64_t used_bytes = 0;
  cudaError_t died_of = cudaSuccess;
  std::array<double, 4> engine_free{};  // by Engine: when it has done what it was given
  std::vector<bool> has_peer_access;
  std::map<const void*, int> dynamic_shared_limits;  // by host symbol, where cudaFuncSetAttribute raised it
};

struct MemoryRecord {
  size_t bytes = 0;
  enum class Kind : uint8_t { Device, Pinned, Registered } kind = Kind::Device;
  int device = 0;
  unsigned flags = 0;
  bool is_live = true;
};

struct GraphNode {
  Work work;
  std::vector<int> dependencies;  // indices of nodes before
  int lane = 0;                   // of the capture: one a stream
};

struct Graph {
  std::vector<std::unique_ptr<GraphNode>> nodes;
  int n_lanes = 0;
};

struct Capture {
  Graph graph;
  StreamPointer origin;
  std::vector<StreamPointer> streams;  // that take part; let go at the end
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;
  bool is_active = true;
  bool is_invalid = false;
  unsigned long long id = 0;
};

struct InstantiatedGraph {
  std::vector<GraphNode> nodes;
  std::vector<int> lanes;  // of the machine
  OperationPointer last_launch;
  int device = 0;
};

struct PendingFault {
  Fault fault;
  uint64_t n_seen = 0;
};

// What an executed operation or the host did to memory, for the search for races.
struct Access {
  std::string name;
  int lane = 0;
  uint32_t sequence = 0;
  VectorClock clock;
  std::vector<MemoryRange> ranges;
};

struct Machine {
  std::mutex mutex;
  std::condition_variable changed;  // an effect is done
  GpuOptions options;

  double now = 0;  // the host's clock
  double link_free = 0;
  VectorClock host_clock;
  std::vector<Lane> lanes;
  std::vector<Device> devices;
  std::map<uintptr_t, StreamPointer> streams;
  std::map<uintptr_t, EventPointer> events;
  std::map<uintptr_t, std::shared_ptr<Graph>> graphs;
  std::map<uintptr_t, std::shared_ptr<InstantiatedGraph>> instantiated;
  std::vector<std::shared_ptr<Capture>> captures;  // active ones
  unsigned long long n_captures = 0;
  uintptr_t next_handle = 0x10000;  // of streams, events and graphs: never used again

  std::map<uintptr_t, MemoryRecord> memory;               // by first byte; freed memory too
  std::map<const void*, OperationPointer> value_writers;  // the last operation that wrote a word others wait for
  std::deque<OperationPointer> watched;                   // runs of watched kernels, after the first so many
  uint64_t n_watched_before = 0;
  std::vector<Access> accesses;
  std::vector<PendingFault> faults;
  std::vector<Span> trace;
  std::vector<std::string> notes;
  std::mt19937_64 random;
  uint64_t n_started = 0;
  uint64_t n_calls = 0;
  uint64_t n_effects = 0;
  std::deque<OperationPointer> host_functions;  // to be run by their thread, where they may wait
  std::thread host_function_thread;
  std::thread background;
  bool ends_background = false;
};
Machine& machine();

uintptr_t new_handle(Machine& machine);

// lanes.cc: starting operations.
int take_lane(Machine& machine, int device, int priority);
void give_lane_back(Machine& machine, int lane);
// Adds an operation behind the last of its lane and these others; `ready` is the earliest virtual time of its start. The caller
// calls let_effects_happen() once all that belongs together is added.
OperationPointer add_operation(Machine& machine, int lane, double ready, Work work,
                               std::vector<OperationPointer> dependencies);

// effects.cc: when memory changes.
void let_effects_happen(Machine& machine, Lock& lock);
// Runs all that the operation needs, and itself. False where a word in memory is waited for. The lock is let go meanwhile.
bool try_effect(Machine& machine, Lock& lock, const OperationPointer& operation);
// Waits for words in memory too, then joins the operation: the host knows of all before it, and its clock is at its end.
void wait_for(Machine& machine, Lock& lock, const OperationPointer& operation);
// Whether the operation has ended in virtual time; if so the host joins it.
bool has_ended(Machine& machine, Lock& lock, const OperationPointer& operation);
// Everything that runs anywhere on the device.
void wait_for_device(Machine& machine, Lock& lock, int device);
void start_background(Machine& machine);
void stop_background(Machine& machine);

// timing.cc: gives operations start and end, in the order in which engines take them: those that start up to `until`, or, with a
// target, until that one has an end (false: it lies behind a word in memory that is waited for).
bool pass_time(Machine& machine, Lock& lock, double until, const Operation* target);

// races.cc
void join(VectorClock& clock, const VectorClock& other);
bool is_ordered_before(int lane, uint32_t sequence, const VectorClock& clock);
// Holds an access against all that it is not ordered with, and keeps it.
void check_access(Machine& machine, Access access);
void forget_ordered_accesses(Machine& machine);

// memory.cc: the live allocation or registration that the address lies in.
struct FoundMemory {
  uintptr_t base = 0;
  MemoryRecord* record = nullptr;
};
std::optional<FoundMemory> find_record(Machine& machine, const void* address);
bool is_usable(Machine& machine, const void* address, size_t bytes);

// capture.cc
// Adds the work to the stream, or to the graph that it captures. Null operation: captured.
struct Added {
  cudaError_t error = cudaSuccess;
  OperationPointer operation;
};
Added add_work(Machine& machine, Lock& lock, const StreamPointer& stream, double latency_seconds, Work work);
void invalidate(const std::shared_ptr<Capture>& capture);
// A call that must not be made while a capture goes on that sees this thread: invalidates those captures.
cudaError_t refuse_in_capture(Machine& machine);
// The same for a call that waits for this stream.
cudaError_t refuse_waiting(Machine& machine, const StreamPointer& stream);
// Operations that the stream's next one must follow beside its own last (the legacy default stream's rules).
std::vector<OperationPointer> legacy_dependencies(Machine& machine, const StreamPointer& stream);

// streams.cc; null for a stream that is not there (with a finding where it was destroyed).
StreamPointer find_stream(Machine& machine, cudaStream_t stream);
EventPointer find_event(Machine& machine, cudaEvent_t event);

// The start of every call of the runtime: takes the lock, costs host time, and says whether the call can be answered at all.
struct CallRules {
  bool needs_driver = true;
  bool works_on_dead_device = false;
  bool takes_time = true;
};
class Call {
 public:
  explicit Call(const char* name, CallRules rules = {});
  cudaError_t refusal() const { return refusal_; }
  Machine& m() { return machine(); }
  Lock& lock() { return lock_; }
  const char* name() const { return name_; }
  // Remembers the error for cudaGetLastError, and gives it back.
  cudaError_t done(cudaError_t error);
  // The same for an error of the caller's that no program means to make: a finding.
  cudaError_t misuse(cudaError_t error, const std::string& sentence);

 private:
  const char* name_;
  Lock lock_;
  cudaError_t refusal_ = cudaSuccess;
};
int& current_device();        // of the calling thread
cudaError_t& last_error();    // of the calling thread
bool& is_in_host_function();  // the calling thread runs a function of cudaLaunchHostFunc
// What the effect that runs on the calling thread was seen to touch, beside what its operation says.
std::vector<MemoryRange>& effect_ranges();
double& host_function_work();  // what it passed to advance_host()
// The error of the fault that is due, or success.
cudaError_t next_fault(Machine& machine, FaultPoint point);

}  // namespace sluice::simt
