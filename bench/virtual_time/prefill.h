// A long prompt on the predicted machine: the engine's own passes, streams and ring over a GPU that keeps time (timed_gpu.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "bench/virtual_time/timed_gpu.h"
#include "engine/placement/machine.h"

namespace sluice::bench {

struct PrefillOutcome {
  int64_t n_tokens = 0, n_passes = 0, most_rows = 0;
  double seconds = 0, tokens_per_second = 0;  // to the first token's logits
  double slots = 0;                           // share of the experts that VRAM holds meanwhile
  double ring_bytes = 0, copied_bytes = 0;
  uint64_t n_copied = 0;
  double link_seconds = 0;  // the link was busy
  double gpu_computing = 0, gpu_attention = 0, gpu_experts = 0, gpu_waiting = 0;
  std::string bound;
  ReachedShares shares;  // that were assumed
};

// DeepSeek-R1 UD-IQ1_S as a file of holes in full size, for all outcomes.
void write_holes(const std::filesystem::path& path);
struct PrefillSetting {
  int64_t n_tokens = 0;
  uint32_t most_streamed_rows = 4096;  // of a pass
  ReachedShares shares;
};
// All experts that VRAM does not hold are taken to lie in pinned RAM.
PrefillOutcome run_prefill(const std::filesystem::path& holes, const engine::Machine& machine,
                           const PrefillSetting& setting);

}  // namespace sluice::bench
