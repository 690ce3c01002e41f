// The CPU of the machine that is predicted: computes everything really, and moves the virtual clock by what R1's matrices would take there.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "engine/device/device.h"
#include "engine/model/weights.h"
#include "engine/placement/machine.h"

namespace sluice::bench {

// A copy to the GPU, which reads the host's memory meanwhile.
struct CopySpan {
  double start = 0, end = 0;  // by the virtual clock
};

struct CpuTimes {
  double seconds = 0;               // that products took
  double barrier_seconds = 0;       // and what else there is between them
  double memory_bound_seconds = 0;  // of `seconds`: longer for the memory than arithmetic alone
  uint64_t n_experts = 0;
};

struct TimedCpuOptions {
  engine::Machine machine;
  double cpu_scale = 1;                 // of its rate: 2 is twice as fast, with the same memory
  double barrier_seconds = 3e-6;        // of each operation that all cores take part in
  double copy_bytes_per_second = 25e9;  // that a copy takes of the memory's rate
  bool uses_forms = false;              // products as fast, and as many bytes, as of the resident forms
  bool is_free = false;                 // takes no time at all
};

class CpuCharge {
 public:
  explicit CpuCharge(TimedCpuOptions options) : options_(std::move(options)) {}
  void know(const engine::ModelWeights& weights);
  // Where copies are asked for, as far as they have begun; the last first or not.
  void set_copies(std::function<const std::vector<CopySpan>&()> copies) { copies_ = std::move(copies); }

  // How many experts the GPU was told so far to read in the host's memory.
  void set_reads(std::function<uint64_t()> n_reads, double seconds_of_one) {
    n_reads_ = std::move(n_reads);
    read_seconds_ = seconds_of_one;
  }

  void products(std::span<const engine::Product> products);
  void operation();
  const CpuTimes& times() const { return times_; }

 private:
  struct Cost {
    double bytes = 0, arithmetic_seconds = 0;
  };
  Cost cost_of(gguf::TensorType type) const;
  double memory_rate() const;

  TimedCpuOptions options_;
  std::map<const std::byte*, std::pair<const std::byte*, gguf::TensorType>> stacks_;  // by begin: end and type
  std::function<const std::vector<CopySpan>&()> copies_;
  std::function<uint64_t()> n_reads_;
  double read_seconds_ = 0;  // of an expert, over the link
  uint64_t n_seen_reads_ = 0;
  double reads_end_ = 0;  // by the virtual clock
  CpuTimes times_;
};

// `charge` must outlive the device.
std::unique_ptr<engine::Device> make_timed_cpu(std::unique_ptr<engine::Device> cpu, CpuCharge& charge);

}  // namespace sluice::bench
