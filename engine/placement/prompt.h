// How a prompt is cut into passes, and how long it takes: by the rules of engine/forward/streamed_passes.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/placement/prediction.h"

namespace sluice::engine {

// Memory of a GPU when a prompt begins.
struct StreamingRoom {
  uint64_t slot_bytes = 0;  // of experts there
  uint64_t free_bytes = 0;  // for passes and caches
  uint64_t state_bytes_a_position = 0;
};

struct PromptRules {
  uint32_t most_rows = 512;  // of a pass
  // A GPU leaves a part of the model to the CPU: such passes have so many rows at most. 0: no pass is shared.
  uint32_t most_shared_rows = 0;
  // Of shared models, the rows of passes for which all missed experts come to the GPUs; 0: there are none.
  uint32_t most_streamed_rows = 0;
  // For those: what one of so many rows, which ends at n_positions, takes of each GPU; and the GPUs by the places' number.
  std::function<uint64_t(int64_t n_rows, int64_t n_positions)> pass_bytes;
  std::vector<StreamingRoom> gpus;
};

struct PromptPrediction : Prediction {
  uint32_t n_passes = 0, n_streamed_passes = 0;
  uint32_t most_rows = 0;       // of a pass
  uint64_t ring_bytes = 0;      // of all GPUs
  double streamed_bytes = 0;    // over their links
  double shares_vram_then = 0;  // of the experts, how many have slots while ring and passes have their room
};

// Can experts be streamed, as far as places tell? The CPU may have no part in what is no expert.
bool can_stream(const ModelWork& work, std::span<const GroupPlace> places);

// A prompt of so many tokens at the beginning of a context, evaluated by a program that has timed nothing yet. Its seconds are those to the
// first token.
PromptPrediction predict_prompt(const ModelWork& work, std::span<const GroupPlace> places, const Machine& machine,
                                uint32_t n_tokens, const ExpertShares& shares, const PromptRules& rules);

}  // namespace sluice::engine
