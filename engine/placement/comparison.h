// What was predicted against what happened, and which assumption was off.
#pragma once

#include <span>

#include "engine/placement/prediction.h"
#include "engine/placement/prompt.h"

namespace sluice::engine {

// A part of a run as it was.
struct RunFacts {
  double tokens_per_second = 0;
  double n_positions = 0;            // in the context, on average
  bool has_experts_found = false;    // some were asked for
  double experts_in_memory = 0;      // share of those that were there, or came because a guess was right
  bool has_vram_hits = false;        // a GPU had some of the experts, and which were chosen was counted
  double vram_hits = 0;              // share of the chosen ones that it had: predictions are made with it
  double disk_bytes = 0;             // read a token
  double disk_bytes_per_second = 0;  // while it read; 0: it did not
  double cpu_busy = 0, waiting = 0;  // shares of the time
};

enum class Assumption {
  None,        // the prediction was near enough
  ExpertHits,  // more or fewer experts were in memory than if all were equally likely
  DiskRate,
  CpuRate,        // the CPU multiplied faster or slower than measured
  OtherPrograms,  // who had the cores
};

struct Comparison {
  Prediction predicted;
  double actual_over_predicted = 0;  // rates; 0: nothing was measured
  Assumption off = Assumption::None;
  double assumed = 0,
         found = 0;  // what the assumption is a number of: a share, bytes a second, a share of the measured rate

  bool is_near() const;
};

// A prediction is near when it is within a quarter.
inline constexpr double kNear = 0.25;

Comparison compare_decode(const ModelWork& work, std::span<const GroupPlace> places, const Machine& machine,
                          const RunFacts& facts, const MissSharing& sharing = {});
Comparison compare_prefill(const ModelWork& work, std::span<const GroupPlace> places, const Machine& machine,
                           uint32_t n_tokens, const RunFacts& facts, const PromptRules& rules);

}  // namespace sluice::engine
