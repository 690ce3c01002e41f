// What streams are made of.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/simt/cudart/emulated_gpu.h"

namespace sluice::simt {

// By lane: how many of its operations are known to have happened before.
using VectorClock = std::vector<uint32_t>;

enum class WorkKind : uint8_t { Marker, Copy, Fill, Kernel, HostFunction, WaitValue, WriteValue };

// What an operation does: a value, which graphs keep and start many times.
struct Work {
  WorkKind kind = WorkKind::Marker;
  std::string name;
  int device = 0;
  Engine engine = Engine::None;
  double seconds = 0;       // on its engine
  double link_seconds = 0;  // on the link that all transfers share
  uint64_t bytes = 0;
  std::vector<MemoryRange> ranges;           // what it reads and writes, as far as it is known
  std::function<cudaError_t()> effect;       // an error: the device dies of it
  std::function<double()> seconds_when_run;  // in place of `seconds`; called before the effect
  bool is_watched = false;                   // GpuOptions::watched_kernel
  std::function<bool()> is_fulfilled;        // WaitValue
  const void* word = nullptr;                // WaitValue, WriteValue
  uint32_t value = 0;                        // WriteValue
  const void* function = nullptr;            // Kernel: the symbol on the host
  cudaMemcpyKind copy_kind = cudaMemcpyDefault;
};

struct Operation {
  Work work;
  int lane = 0;
  uint32_t sequence = 0;  // in its lane, from 1
  uint64_t number = 0;    // among all
  int priority = 0;
  std::vector<std::shared_ptr<Operation>> dependencies;  // until it has an end and an effect

  double ready = 0;  // not before this, by the host's clock
  bool is_timed = false;
  double start = 0, end = 0;
  double fulfilled = 0;           // WaitValue: by the host's clock
  double host_function_work = 0;  // HostFunction: what it passed to advance_host()

  enum class Effect : uint8_t { Waiting, Running, Done } effect = Effect::Waiting;
  VectorClock clock;  // complete once the effect is done
};
using OperationPointer = std::shared_ptr<Operation>;

}  // namespace sluice::simt
