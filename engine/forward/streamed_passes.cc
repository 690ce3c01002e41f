// What a device and its host need for passes of a prompt that bring all experts to the device.

#include <algorithm>

#include "engine/forward/batch.h"
#include "engine/forward/host_side.h"
#include "engine/forward/streaming_rules.h"

namespace sluice::engine {
namespace {

ExpertHandles first_of(const ExpertsWeights& experts) {
  return {experts.gate.first, experts.up.first, experts.down.first};
}

uint64_t bytes_in_ring(const ExpertsWeights& experts) {
  return ExpertStream::bytes_in_ring(first_of(experts));
}

bool have_same_slots(const ExpertHandles& a, const ExpertHandles& b) {
  return a.gate.bytes() == b.gate.bytes() && a.up.bytes() == b.up.bytes() && a.down.bytes() == b.down.bytes();
}

}  // namespace

template <class Do>
void HostSide::for_each_missed(Do what) const {
  for (uint32_t layer = layers_.begin; layer < layers_.end; ++layer)
    if (const auto* experts = std::get_if<ExpertsWeights>(&weights_.layers[layer].ffn))
      for (int32_t id = 0; id < experts->gate.count; ++id)
        if (!tier_->holds(layer, id)) what(layer, id, *experts);
}

bool HostSide::has_dense_work() const {
  const auto layers = std::span(weights_.layers).subspan(layers_.begin, layers_.end - layers_.begin);
  return std::ranges::any_of(layers, [](const LayerWeights& layer) {
    const auto* const dense = std::get_if<DenseWeights>(&layer.ffn);
    return is_in_file(dense != nullptr ? *dense : std::get<ExpertsWeights>(layer.ffn).shared);
  });
}

bool HostSide::can_stream() const {
  return tier_ != nullptr && !has_dense_work();
}

StreamSeconds HostSide::missed_seconds() const {
  StreamSeconds seconds;
  const double disk_rate = store_.read_bytes_per_second();
  for_each_missed([&](uint32_t layer, int32_t id, const ExpertsWeights& experts) {
    seconds.link += tier_->link_seconds(layer);
    if (disk_rate > 0 && !store_.has(layer, id))
      seconds.disk += static_cast<double>(bytes_in_ring(experts)) / disk_rate;
  });
  return seconds;
}

uint64_t HostSide::half_ring_bytes() const {
  std::vector<uint64_t> of_layer(weights_.layers.size(), 0);
  uint64_t largest = 0;  // of all: others may be missed tomorrow
  for (uint32_t layer = layers_.begin; layer < layers_.end; ++layer)
    if (const auto* experts = std::get_if<ExpertsWeights>(&weights_.layers[layer].ffn))
      largest = std::max(largest, bytes_in_ring(*experts));
  for_each_missed(
      [&](uint32_t layer, int32_t, const ExpertsWeights& experts) { of_layer[layer] += bytes_in_ring(experts); });
  return engine::half_ring_bytes(tier_->statistics().slot_bytes, largest, *std::ranges::max_element(of_layer));
}

int64_t HostSide::most_streamed_rows(Stage& on, int64_t n_rows, int64_t n_positions) {
  const bool has_ring = expert_stream_ && expert_stream_->ring_bytes() > 0;
  const uint64_t ring = has_ring ? 0 : 2 * half_ring_bytes();
  const uint64_t bytes = on.device.room(0) + tier_->statistics().slot_bytes / kPassShare;
  const auto is_room = [&](int64_t rows) {
    const int64_t rounded = rounded_up(rows);
    if (rounded == pass_rows_) return true;  // there is
    return ring + pass_bytes_(rounded, std::max(rounded, rounded_up(n_positions + rows))) <= bytes;
  };
  return rows_with_room(n_rows, kMostSharedRows, is_room);
}

bool HostSide::make_ring(Stage& on) {
  if (!expert_stream_) expert_stream_ = std::make_unique<ExpertStream>(on.device, store_, tier_->n_experts_a_layer());
  if (expert_stream_->ring_bytes() > 0) return true;
  const uint64_t half = half_ring_bytes();
  if (half == 0) return true;  // nothing needs one
  constexpr uint64_t kLostToAlignment = 1024;
  const uint64_t wanted = 2 * half + kLostToAlignment, room = on.device.room(0);
  if (room < wanted) tier_->give_back(*on.stream, wanted - room);
  return expert_stream_->make_ring(half);
}

// Null where the link's copies cannot read one of them.
std::optional<std::vector<ExpertStream::Expert>> HostSide::missed_experts(Stage& on) const {
  std::vector<ExpertStream::Expert> experts;
  bool are_all = true;
  for_each_missed([&](uint32_t layer, int32_t id, const ExpertsWeights& weights) {
    auto hold = are_all ? store_.hold(layer, id) : nullptr;
    if (hold)
      for (const Linear* matrix : {&hold->handles.gate, &hold->handles.up, &hold->handles.down})
        are_all = are_all && on.device.device_address(matrix->data) != nullptr &&
                  on.device.device_address(matrix->data + matrix->bytes() - 1) != nullptr;
    experts.push_back({layer, id, first_of(weights), std::move(hold)});
  });
  if (!are_all) return std::nullopt;
  return experts;
}

// And null where there is no ring for them.
std::optional<std::vector<ExpertStream::Expert>> HostSide::experts_to_stream(Stage& on) {
  tier_->settle(*on.stream);
  auto experts = missed_experts(on);
  if (experts && !experts->empty() && expert_stream_->ring_bytes() == 0) return std::nullopt;
  return experts;
}

bool HostSide::finds_missed_experts(Stage& on) {
  tier_->settle(*on.stream);
  auto experts = missed_experts(on);
  return experts && leave_slots_to_fetch(store_, std::span(&*experts, 1));
}

bool HostSide::make_room_to_stream(Stage& on, int64_t n_rows, int64_t n_positions, uint64_t growth_bytes) {
  if (!make_ring(on)) return false;
  make_room(on, n_rows, n_positions, growth_bytes);
  return experts_to_stream(on).has_value();
}

void HostSide::begin_stream(Stage& on, std::vector<ExpertStream::Expert> experts) {
  expert_stream_->begin(*on.stream, std::move(experts));
  is_streamed_ = true;
  // The pass's launches are cut where experts come, which no other pass does alike.
  on.stream->expect_repeats(false);
}

bool leave_slots_to_fetch(const WeightStore& store, std::span<std::vector<ExpertStream::Expert>> of_devices) {
  std::vector<ExpertStream::Expert*> all;
  for (std::vector<ExpertStream::Expert>& experts : of_devices)
    for (ExpertStream::Expert& expert : experts) all.push_back(&expert);
  std::vector<ExpertHandles> sizes;  // that have been seen
  for (const ExpertStream::Expert* fetched : all) {
    const auto is_same = [&](const ExpertHandles& seen) { return have_same_slots(seen, fetched->like); };
    if (fetched->hold || std::ranges::any_of(sizes, is_same)) continue;
    sizes.push_back(fetched->like);
    const auto is_alike = [&](const ExpertStream::Expert* other) {
      return other->hold && have_same_slots(other->like, sizes.back());
    };
    const int64_t n_free = store.n_fetchable(fetched->layer), n_held = std::ranges::count_if(all, is_alike);
    // Evenly of all layers, as what is fetched passes by all of them.
    int64_t n_too_few = std::min(n_held, fetch_slots(n_free + n_held) - n_free);
    const int64_t step = n_too_few > 0 ? n_held / n_too_few : 0;
    int64_t n_seen = 0;
    for (ExpertStream::Expert* other : all)
      if (n_too_few > 0 && is_alike(other) && n_seen++ % step == 0) {
        other->hold = nullptr;
        --n_too_few;
      }
    if (store.n_fetchable(fetched->layer) <= 0) return false;
  }
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
