#include "engine/forward/prompt_passes.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/forward/forward.h"
#include "engine/forward/host_side.h"

namespace sluice::engine {

// By whose clock passes are timed: null where none has experts that come and go.
static const VramTier* first_tier(const ForwardContext& context) {
  for (const Stage& stage : context.stages)
    if (stage.host && stage.host->tier() != nullptr) return stage.host->tier();
  return nullptr;
}

int64_t PromptPasses::rows_of_next_pass(ForwardContext& context, const SequenceState& sequence, int64_t n_left,
                                        int64_t n_batch, int64_t most_rows) {
  rows_to_stream_ = 0;
  const auto has_host = [](const Stage& stage) { return stage.host != nullptr; };
  if (std::ranges::none_of(context.stages, has_host)) return std::min(n_left, n_batch);
  const int64_t shared = std::min({n_left, n_batch, int64_t{kMostSharedRows}});
  int64_t rows = std::min(n_left, most_rows);
  bool weighs = false;
  for (const Stage& stage : context.stages) {
    if (!stage.host) {
      rows = std::min(rows, n_batch);  // for which a device that has all of its layers has room
      continue;
    }
    if (!stage.host->can_stream()) return shared;
    rows = std::min(rows, int64_t{stage.host->sharing().most_streamed_rows});
    weighs = weighs || stage.host->sharing().weighs_streaming;
  }
  for (Stage& stage : context.stages)
    if (stage.host && rows > kMostSharedRows) rows = stage.host->most_streamed_rows(stage, rows, sequence.length());
  if (rows <= kMostSharedRows) return shared;
  StreamSeconds missed;
  for (const Stage& stage : context.stages)
    if (stage.host) missed += stage.host->missed_seconds();
  if (weighs && !cost_.is_streaming_faster(rows, missed)) return shared;
  if (!make_room_to_stream(context, sequence, rows)) return shared;
  rows_to_stream_ = rows;
  return rows;
}

bool PromptPasses::make_room_to_stream(ForwardContext& context, const SequenceState& sequence, int64_t n_rows) {
  // Without moving anything for it in vain: where it cannot be done now, it will not be for experts that give up their slots.
  for (Stage& stage : context.stages)
    if (stage.host && !stage.host->finds_missed_experts(stage)) return false;
  for (Stage& stage : context.stages)
    if (stage.host && !stage.host->make_room_to_stream(stage, n_rows, sequence.length() + n_rows,
                                                       sequence.reserve_bytes(n_rows, stage.layers)))
      return false;
  return true;
}

// On all devices, or on none.
static void begin_streams(ForwardContext& context) {
  std::vector<std::vector<ExpertStream::Expert>> experts;
  for (Stage& stage : context.stages) {
    if (!stage.host) continue;
    auto of_stage = stage.host->experts_to_stream(stage);
    if (!of_stage) return;
    experts.push_back(std::move(*of_stage));
  }
  if (!leave_slots_to_fetch(*context.store, experts)) return;
  size_t next = 0;
  for (Stage& stage : context.stages)
    if (stage.host) stage.host->begin_stream(stage, std::move(experts[next++]));
}

void PromptPasses::begin_pass(ForwardContext& context, int64_t n_rows) {
  const bool wants_stream = n_rows == std::exchange(rows_to_stream_, 0);
  for (Stage& stage : context.stages)
    if (stage.host) stage.host->begin_pass(stage, n_rows);
  if (wants_stream) begin_streams(context);
  rows_now_ = n_rows;
  const VramTier* const tier = first_tier(context);
  if (tier != nullptr && rows_now_ >= PrefillCost::kFewestRows) pass_begin_ = tier->now();
}

void PromptPasses::end_pass(ForwardContext& context) {
  for (Stage& stage : context.stages)
    if (stage.host) stage.host->start_pass(stage);
  const VramTier* const tier = first_tier(context);
  if (tier != nullptr && rows_now_ >= PrefillCost::kFewestRows) {
    const double seconds = tier->now() - pass_begin_;
    size_t n_hosts = 0, n_streamed = 0;
    StreamSeconds missed;
    for (const Stage& stage : context.stages) {
      if (!stage.host) continue;
      ++n_hosts;
      n_streamed += stage.host->is_streamed() ? 1 : 0;
      if (stage.host->is_streamed()) missed += stage.host->missed_seconds();
    }
    if (n_streamed == n_hosts)
      cost_.took_streamed(rows_now_, seconds, missed);
    else if (n_streamed == 0)
      cost_.took_shared(rows_now_, seconds);
  }
  bool reads_host = false;
  for (Stage& stage : context.stages) {
    if (!stage.host) continue;
    stage.host->end_pass(stage);
    reads_host = reads_host || (stage.host->tier() != nullptr && stage.host->sharing().reads_host);
  }
  if (!reads_host) return;
  const std::vector<LayerExpert> moved = context.store->take_moved();  // also by what the tiers have moved
  for (Stage& stage : context.stages)
    if (stage.host) stage.host->follow_store(stage, moved);
}

}  // namespace sluice::engine
