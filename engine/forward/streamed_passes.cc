// Which passes of a prompt bring all experts to the device, and what that needs.

#include <algorithm>
#include <bit>

#include "engine/forward/batch.h"
#include "engine/forward/host_side.h"
#include "engine/forward/streaming_rules.h"

namespace sluice::engine {
namespace {

template <class Do>
void for_each_missed(const ModelWeights& weights, const VramTier& tier, Do what) {
  for (uint32_t layer = 0; layer < weights.layers.size(); ++layer)
    if (const auto* experts = std::get_if<ExpertsWeights>(&weights.layers[layer].ffn))
      for (int32_t id = 0; id < experts->gate.count; ++id)
        if (!tier.holds(layer, id)) what(layer, id, *experts);
}

uint64_t bytes_in_ring(const ExpertsWeights& experts) {
  return ExpertStream::bytes_in_ring({experts.gate.first, experts.up.first, experts.down.first});
}

}  // namespace

bool HostSide::has_dense_work() const {
  return std::ranges::any_of(weights_.layers, [](const LayerWeights& layer) {
    const auto* const dense = std::get_if<DenseWeights>(&layer.ffn);
    return is_in_file(dense != nullptr ? *dense : std::get<ExpertsWeights>(layer.ffn).shared);
  });
}

double HostSide::missed_link_seconds() const {
  double seconds = 0;
  for_each_missed(weights_, *tier_,
                  [&](uint32_t layer, int32_t, const ExpertsWeights&) { seconds += tier_->link_seconds(layer); });
  return seconds;
}

uint64_t HostSide::half_ring_bytes() const {
  std::vector<uint64_t> of_layer(weights_.layers.size(), 0);
  uint64_t largest = 0;  // of all: others may be missed tomorrow
  for (const LayerWeights& layer : weights_.layers)
    if (const auto* experts = std::get_if<ExpertsWeights>(&layer.ffn))
      largest = std::max(largest, bytes_in_ring(*experts));
  for_each_missed(weights_, *tier_, [&](uint32_t layer, int32_t, const ExpertsWeights& experts) {
    of_layer[layer] += bytes_in_ring(experts);
  });
  return engine::half_ring_bytes(tier_->statistics().slot_bytes, largest, *std::ranges::max_element(of_layer));
}

int64_t HostSide::most_streamed_rows(ForwardContext& context, int64_t n_rows, int64_t n_positions) {
  const bool has_ring = expert_stream_ && expert_stream_->ring_bytes() > 0;
  const uint64_t ring = has_ring ? 0 : 2 * half_ring_bytes();
  const uint64_t bytes = context.device.room(0) + tier_->statistics().slot_bytes / kPassShare;
  const auto is_room = [&](int64_t rows) {
    const int64_t rounded = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(rows)));
    if (rounded == pass_rows_) return true;  // there is
    const auto positions = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(n_positions + rows)));
    return ring + pass_bytes_(rounded, std::max(rounded, positions)) <= bytes;
  };
  return rows_with_room(n_rows, kMostSharedRows, is_room);
}

bool HostSide::make_ring(ForwardContext& context) {
  if (!expert_stream_) expert_stream_ = std::make_unique<ExpertStream>(context.device, tier_->n_experts_a_layer());
  if (expert_stream_->ring_bytes() > 0) return true;
  const uint64_t half = half_ring_bytes();
  if (half == 0) return true;  // nothing needs one
  constexpr uint64_t kLostToAlignment = 1024;
  const uint64_t wanted = 2 * half + kLostToAlignment, room = context.device.room(0);
  if (room < wanted) tier_->give_back(*context.stream, wanted - room);
  return expert_stream_->make_ring(half);
}

// Null where one of them is on its way, on the disk, or where the link's copies cannot read it.
std::optional<std::vector<ExpertStream::Expert>> HostSide::missed_experts(ForwardContext& context) const {
  std::vector<ExpertStream::Expert> experts;
  bool are_all = true;
  for_each_missed(weights_, *tier_, [&](uint32_t layer, int32_t id, const ExpertsWeights&) {
    auto hold = are_all ? store_.hold(layer, id) : nullptr;
    are_all = hold != nullptr;
    if (!are_all) return;
    for (const Linear* matrix : {&hold->handles.gate, &hold->handles.up, &hold->handles.down})
      are_all = are_all && context.device.device_address(matrix->data) != nullptr &&
                context.device.device_address(matrix->data + matrix->bytes() - 1) != nullptr;
    experts.push_back({layer, id, std::move(hold)});
  });
  if (!are_all) return std::nullopt;
  return experts;
}

// And null where there is no ring for them.
std::optional<std::vector<ExpertStream::Expert>> HostSide::experts_to_stream(ForwardContext& context) const {
  auto experts = missed_experts(context);
  if (experts && !experts->empty() && expert_stream_->ring_bytes() == 0) return std::nullopt;
  return experts;
}

int64_t HostSide::rows_of_next_pass(ForwardContext& context, const SequenceState& sequence, int64_t n_left,
                                    int64_t n_batch, int64_t most_rows) {
  rows_to_stream_ = 0;
  const int64_t shared = std::min({n_left, n_batch, int64_t{kMostSharedRows}});
  int64_t rows = std::min({n_left, most_rows, int64_t{sharing_.most_streamed_rows}});
  if (!tier_ || rows <= kMostSharedRows || has_dense_work()) return shared;
  rows = most_streamed_rows(context, rows, sequence.length());
  if (rows <= kMostSharedRows) return shared;
  if (sharing_.weighs_streaming && !prefill_cost_.is_streaming_faster(rows, missed_link_seconds())) return shared;
  tier_->settle(*context.stream);
  // Without moving anything for it in vain: where it cannot be done now, it will not be for experts that give up their slots.
  if (!missed_experts(context)) return shared;
  if (!make_ring(context)) return shared;
  make_room(context, rows, sequence.length() + rows, sequence.reserve_bytes(rows));
  if (!experts_to_stream(context)) return shared;
  rows_to_stream_ = rows;
  return rows;
}

bool HostSide::begin_stream(ForwardContext& context) {
  tier_->settle(*context.stream);
  auto experts = experts_to_stream(context);
  if (!experts) return false;
  pass_link_seconds_ = missed_link_seconds();
  expert_stream_->begin(*context.stream, std::move(*experts));
  return true;
}

VramStatistics HostSide::statistics() const {
  if (!tier_) return {};
  VramStatistics statistics = tier_->statistics();
  statistics.n_streamed_passes = n_streamed_passes_;
  if (expert_stream_) {
    statistics.n_streamed = expert_stream_->n_copied();
    statistics.streamed_bytes = expert_stream_->copied_bytes();
    statistics.ring_bytes = expert_stream_->ring_bytes();
  }
  return statistics;
}

}  // namespace sluice::engine
