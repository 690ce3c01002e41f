// The machine that the emulated CUDA runtime runs on: devices with memory of a given size, engines that copy and compute, a bus, and
// a clock of their own. What a program asks of the runtime takes virtual time; what it does to memory happens at some moment that
// real CUDA would allow, and the worst of these moments can be asked for.
//
// There is one host clock for all threads of the program. Calls cost a little of it, waiting moves it to the end of what is waited
// for, and advance_host() stands for work of the host. Each device has three engines (copies to it, copies from it, and kernels, fills
// and copies inside it), each of which does one operation after the other, in the order in which they become ready.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/simt/runtime/kernels.h"

namespace sluice::simt {

struct DeviceModel {
  std::string name = "Emulated GPU";
  int major = 8, minor = 0;  // compute capability; limits of blocks and shared memory follow from it
  int n_multiprocessors = 108;
  uint64_t memory_bytes = uint64_t{8} << 30;
  uint64_t context_bytes = 0;  // of memory_bytes, taken from the start
  double host_to_device_bytes_per_second = 25e9;
  double device_to_host_bytes_per_second = 25e9;
  double device_bytes_per_second = 800e9;  // of copies inside and fills, each byte read and written once
};

// When memory really changes.
enum class Effects : uint8_t {
  Eager,   // at once, as soon as nothing is left to wait for
  Lazy,    // only when someone waits for it (or the virtual clock has passed its end and someone asks)
  Seeded,  // streams have tempers, drawn from the seed: some run only when they must, some at once, some now and then
};

enum class Driver : uint8_t { Present, Missing, TooOld, NoDevice };

struct KernelLaunch {
  std::string_view name;  // mangled
  Extent grid, block;
  uint32_t dynamic_shared_bytes = 0;
  std::span<const std::byte> parameters;
  int device = 0;
};

struct MemoryRange {
  const std::byte* data = nullptr;
  size_t bytes = 0;
  bool writes = false;
  bool is_atomic = false;  // two atomic accesses are no race
};

struct GpuOptions {
  std::vector<DeviceModel> devices{1};  // 1 to 4
  Driver driver = Driver::Present;
  int driver_version = 13000;      // where it is present
  int old_driver_version = 11080;  // where it is too old
  bool peer_access = true;         // between any two devices

  Effects effects = Effects::Eager;
  uint64_t seed = 1;
  bool tempers = true;  // Seeded: false makes all streams run now and then, which finds far less
  bool check_races = true;
  // A program with a mistake: a cudaStreamWaitEvent of this stream (its handle's number) was forgotten.
  std::function<bool(uintptr_t stream)> forgets_wait;
  // Real seconds without a call after which the devices go on by themselves, so that a thread may wait for a word in mapped memory
  // without calling the runtime. 0: never.
  double goes_on_after_seconds = 0.1;
  // Real seconds after which waiting for a word that nobody writes ends with cudaErrorLaunchTimeout and a finding.
  double gives_up_after_seconds = 10;

  double call_seconds = 1e-6;            // of the host's time, for each call
  double copy_latency_seconds = 8e-6;    // from the call to the start of a copy
  double launch_latency_seconds = 3e-6;  // from the call to the start of a kernel or fill
  double graph_launch_seconds = 5e-6;    // of the host's time, for each launch of a graph
  double graph_node_seconds = 0.1e-6;    // of the host's time, and for each of its nodes
  double host_function_seconds = 5e-6;   // and what the function passes to advance_host()
  // Host functions run on a thread of their own, as the driver has it, and may wait for what the host does: no call waits for one but
  // those that wait for its stream, and what the host did before one ended happened before what follows it. Else they run in whichever
  // call lets them, which they hold up.
  bool host_functions_may_wait = false;
  double pageable_bytes_per_second = 6e9;
  // Of both directions and all devices together: the bytes of one transfer pass after those of another. 0: no such limit.
  double shared_link_bytes_per_second = 0;
  // How long a kernel computes. Without it: default_kernel_seconds.
  std::function<double(const KernelLaunch&)> kernel_seconds;
  // It is asked each time before the kernel runs, in the order of its stream, and may read what the kernel will; else once, when the kernel
  // is launched or captured. With Effects::Eager.
  bool times_kernels_when_run = false;
  // How long a copy of so many bytes to a device takes. Without it: host_to_device_bytes_per_second.
  std::function<double(uint64_t bytes)> host_to_device_seconds;
  // Kernels with this in their mangled name write words that the host waits for: wait_for_watched_kernel(). Empty: none.
  std::string watched_kernel;
  double default_kernel_seconds = 10e-6;
  // What a kernel reads and writes, for the search for races. Without it: what it was seen to touch (grid_options().check).
  std::function<std::vector<MemoryRange>(const KernelLaunch&)> kernel_ranges;
};

// Forgets all streams, events, graphs, allocations (their addresses stay unusable), faults, errors of devices and of the calling
// thread, and the clock. No other thread may be inside the runtime. The program's kernels stay registered.
void reset_emulated_gpu(GpuOptions options = {});

// The clock in seconds since the reset.
double host_seconds();
// The host computes for so long. In a function that cudaLaunchHostFunc runs: that function takes so long, and the host's clock stays.
void advance_host(double seconds);
// Does what another thread of the host would do at this moment: what it takes and waits for moves no clock.
void do_beside_host(const std::function<void()>& work);

// Tells the search for races what host code does with memory that streams use. Reading or writing what an operation in flight
// uses is a finding.
void host_touches(const void* data, size_t bytes, bool writes);
// Host code has seen a word in mapped memory by which operations that wrote to the range said that they are ready (an acquire): what
// they did happened before.
void host_acquires(const void* data, size_t bytes);
// Host code has seen a word that the nth run (from 1) of a watched kernel wrote, without asking the runtime: it is not earlier than the
// kernel's end. Throws std::logic_error where there was no such run, or a later one was waited for.
void wait_for_watched_kernel(uint64_t nth);
// Makes everything happen that can, without waiting for it: the clock stands still, and nothing is ordered by it.
void run_pending_effects();

enum class Engine : uint8_t { None, HostToDevice, DeviceToHost, Compute };

struct Span {
  std::string name;
  Engine engine = Engine::None;
  int device = 0;
  uint64_t bytes = 0;  // of copies and fills
  double start = 0, end = 0;
};
// What the engines (and host functions: Engine::None) did since the last call, in the order in which it started; of operations that
// nothing has waited for yet, those that started before the host's present.
std::vector<Span> take_trace();

// What is right but slow: asynchronous copies from pageable memory. Taken, they are gone.
std::vector<std::string> take_performance_notes();

// A call that fails though nothing is wrong with it.
enum class FaultPoint : uint8_t {
  Malloc,            // cudaMalloc
  HostAlloc,         // cudaHostAlloc, cudaMallocHost
  HostRegister,      // cudaHostRegister
  Copy,              // copies of all kinds, as they are asked for (also into a graph)
  Launch,            // of a kernel, as it is asked for (also into a graph)
  GraphInstantiate,  // and cudaGraphInstantiateWithFlags
  StreamCreate,
  EventCreate,
  KernelExecution,  // the device dies of the kernel
};
struct Fault {
  FaultPoint point{};
  uint64_t nth = 1;  // counted from now on, from 1
  int error = 2;     // cudaError_t
  uint64_t n_times = 1;
};
void inject_fault(const Fault& fault);

// Reports each allocation, registration, stream, event and graph that is still there as a finding ("leak: ...").
void report_leaks();

}  // namespace sluice::simt
