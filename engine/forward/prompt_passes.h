// How long prompts are cut into passes: GPU and CPU share some rows at a time, or all experts come to the GPU for many rows at once. Where
// several GPUs have a model's layers they stream the same passes.
#pragma once

#include <cstdint>

#include "engine/forward/prefill_cost.h"

namespace sluice::engine {

class ForwardContext;
class SequenceState;

class PromptPasses {
 public:
  // How many of a prompt's n_left rows, which come after what is in the sequence, the next pass should have: n_batch at most; kMostSharedRows
  // (host_side.h) where the host has a part in it; and most_rows at most, where it is worth it and can be done that all experts come to the
  // devices. Makes room for the latter.
  int64_t rows_of_next_pass(ForwardContext& context, const SequenceState& sequence, int64_t n_left, int64_t n_batch,
                            int64_t most_rows);

  // Around each pass.
  void begin_pass(ForwardContext& context, int64_t n_rows);
  // All of the pass was asked for: begins what is not begun, and then what should be elsewhere in the next ones.
  void end_pass(ForwardContext& context);

 private:
  bool make_room_to_stream(ForwardContext& context, const SequenceState& sequence, int64_t n_rows);

  PrefillCost cost_;
  int64_t rows_to_stream_ = 0;  // of the next pass: all its experts are to come to the devices
  int64_t rows_now_ = 0;        // of the pass
  double pass_begin_ = 0;
};

}  // namespace sluice::engine
