// A model running on a machine by a clock that is not real: the store's table of slots and its policies, fed with a trace of routing,
// over modelled processors and links. What it says is predicted, as good as the numbers of the machine.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/options.h"
#include "engine/placement/plan.h"
#include "engine/traces/trace.h"

namespace sluice::engine {

struct SimulationOptions {
  PolicyKind policy = PolicyKind::Hybrid;
  // Guesses of the next layer's experts, as the store makes them: how many of the chosen experts they name, and how many of those
  // named are chosen. Measured on random weights (docs/performance.md).
  bool guesses = true;
  double guess_recall = 0.86;
  double guess_precision = 0.86;
  // Experts that are moved into VRAM after a token at most, in exchange for others.
  uint32_t promotions = 4;
  // The GPU multiplies some of the missed experts where they lie in RAM, by the run's own rule (engine/forward/miss_split.h): where the plan
  // has them in pinned memory.
  bool reads_host = false;
  // What the CPU computes of a layer is added one layer later; only where nothing is read from the disk.
  bool defers = false;
  std::vector<float> heat;  // of earlier runs, a number for each layer of the trace and expert; may be empty
  double warm_share = 0.5;  // of the tokens: those before the count begins
};

struct SimulationResult {
  uint64_t n_tokens = 0;  // that were counted
  double seconds = 0;     // that they took
  // Of the experts that they chose, how many were where. Those that a guess brought or was bringing count apart.
  double in_vram = 0, in_ram = 0, guessed = 0, missed = 0;
  std::vector<double> in_vram_of_gpu;  // the same of the experts that layers of each GPU chose
  double promoted = 0;                 // experts a token
  double read_by_gpu = 0;              // of a token's experts in RAM, that the GPU read there
  // A token.
  double disk_bytes = 0, pcie_bytes = 0;
  // The critical path of a token: who kept the next step waiting.
  double cpu_seconds = 0, gpu_seconds = 0, disk_seconds = 0, overhead_seconds = 0;
  double disk_busy = 0;  // share of the time

  double tokens_per_second() const { return seconds > 0 ? static_cast<double>(n_tokens) / seconds : 0; }
  // Who kept the next step waiting longest.
  enum class Waited { Cpu, Gpu, Disk, Overhead };
  Waited waited_most() const;
};

std::string_view waited_name(SimulationResult::Waited waited);  // "CPU", "GPU", "disk", "launches and barriers"

// Passes of several rows (prompts) teach the policy and fill memory, and are not counted. The plan says how many experts each tier
// holds; the trace must be of a model of its shape. Throws Error(Usage).
SimulationResult simulate(const Plan& plan, const Machine& machine, const traces::TraceHeader& header,
                          std::span<const traces::Pass> passes, const SimulationOptions& options);

// Of the chosen experts after the warm share, how many would have been in n_slots places if what is needed again last had always been
// put out (Belady 1966): more is not possible. Places of all layers are one pool.
double best_hit_share(const traces::TraceHeader& header, std::span<const traces::Pass> passes, uint64_t n_slots,
                      double warm_share);

// Uses a token of each layer's experts, as the store keeps them between runs.
std::vector<float> heat_of(const traces::TraceHeader& header, std::span<const traces::Pass> passes);

}  // namespace sluice::engine
