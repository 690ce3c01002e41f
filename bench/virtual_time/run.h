// One setting of the predicted machine: the engine decodes some tokens of a skeleton over virtual time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "bench/virtual_time/launch_times.h"
#include "bench/virtual_time/timed_cpu.h"
#include "engine/placement/machine.h"

namespace sluice::bench {

struct Setting {
  double slots = 0.29;  // share of the experts that the GPU holds; 1: all, without a host's share
  double skew = 0;
  bool promotes = true;
  bool knows_heat = false;  // the slots are filled with the most popular experts, else with any
  uint32_t n_warm_tokens = 16, n_tokens = 32;
  double n_positions = 2048;
  bool uses_groups = true;  // routing in groups, as in the original model
  double cpu_scale = 1;
  bool uses_forms = false;
  bool reads_host = false;     // the GPU reads some missed experts in pinned memory
  bool defers = false;         // the CPU's sums are added one layer later
  bool only_overhead = false;  // products of CPU and GPU take no time
  uint64_t seed = 1;
};

// Of a token, on average; seconds by the virtual clock.
struct Outcome {
  double tokens_per_second = 0, seconds = 0;
  double hit_rate = 0;
  double n_read = 0;         // experts that the GPU read in the host's memory
  double slots = 0;          // share of the experts that have one
  double popular_share = 0;  // of the choices, on the 29% that the router's bias favours most
  double n_promotions = 0, n_launches = 0;
  double gpu_computing = 0;  // in kernels, without the gaps between them
  double gaps = 0;
  double gpu_waiting = 0;        // for the CPU's part of layers
  double before = 0, after = 0;  // the first kernel of the pass and the last one
  double between = 0;            // kernels, for another reason
  double cpu_computing = 0, cpu_between = 0, cpu_memory_bound = 0;
  double cpu_waiting = 0;  // for the GPU's choice
  double cpu_experts = 0;
  double real_seconds = 0;  // of this machine
};

Outcome run_setting(const std::filesystem::path& skeleton, const PredictedLaunches& predicted,
                    const engine::Machine& machine, const Setting& setting);

}  // namespace sluice::bench
