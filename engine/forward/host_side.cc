#include "engine/forward/host_side.h"

#include <algorithm>

#include "engine/forward/batch.h"
#include "engine/forward/expert_groups.h"
#include "engine/forward/streaming_rules.h"

namespace sluice::engine {

HostSide::HostSide(std::shared_ptr<Device> cpu, const ModelSpec& spec, const ModelWeights& weights, WeightStore& store,
                   std::unique_ptr<VramTier> tier, Device& device, PassBytes pass_bytes, const SharingOptions& sharing,
                   LayerRange layers)
    : cpu_(std::move(cpu)),
      stream_(cpu_->make_stream()),
      workspace_(*cpu_),
      spec_(spec),
      weights_(weights),
      store_(store),
      tier_(std::move(tier)),
      pass_bytes_(std::move(pass_bytes)),
      sharing_(sharing),
      layers_(layers.of(weights.layers.size())) {
  if (!tier_) return;
  tier_->set_store(store);
  host_places_ = std::make_unique<HostPlaces>(device, store, layers_, tier_->n_experts_a_layer());
}

void HostSide::make_room(Stage& on, int64_t n_rows, int64_t n_positions, uint64_t growth_bytes) {
  const int64_t rows = rounded_up(n_rows), positions = std::max(kPagePositions, rounded_up(n_positions));
  const bool is_another = n_rows > 0 && (rows != pass_rows_ || positions != pass_positions_);
  if (!is_another && growth_bytes == 0) return;
  uint64_t bytes = growth_bytes;
  bool comes_back = false;
  if (is_another) {
    // What passes of another shape have left behind is of no use to this one.
    on.device.synchronize(*on.stream);
    on.workspace.clear();
    on.device.trim(*on.stream);
    // Behind a prompt, when rows come one by one again, experts have the memory of its ring and its large passes again.
    comes_back = n_rows == 1 && std::exchange(has_lent_slots_, false);
    if (comes_back) expert_stream_->free_ring();
    if (pass_rows_ == 0) bytes += kCellBytes;
    pass_room_ = pass_bytes_(rows, std::max(rows, positions));
    pass_rows_ = rows;
    pass_positions_ = positions;
    before_passes_ = bytes_of_others(on.device);
    grown_bytes_ = 0;
  }
  if (!tier_) return;
  // What passes of this shape have taken so far, at shorter lengths, may be less than what was kept for them.
  const uint64_t taken = bytes_of_others(on.device), expected = before_passes_ + grown_bytes_;
  bytes += pass_room_ - std::min(pass_room_, taken - std::min(taken, expected));
  grown_bytes_ += growth_bytes;
  const uint64_t room = on.device.room(0);
  if (room < bytes)
    tier_->give_back(*on.stream, bytes - room);
  else if (comes_back)
    tier_->take_back(room - bytes);
}

// But for experts' slots.
uint64_t HostSide::bytes_of_others(const Device& device) const {
  const uint64_t bytes = device.memory().device_bytes;
  return bytes - std::min(bytes, tier_ ? tier_->statistics().slot_bytes : 0);
}

void HostSide::begin_pass(Stage& on, int64_t n_rows) {
  workspace_.reset();
  deferred_layer_.reset();
  last_begin_ = last_end_ = 0;
  if (expert_stream_) expert_stream_->end();  // a pass that was given up
  if (tier_) tier_->begin_pass(n_rows);
  is_streamed_ = false;
  on.stream->expect_repeats(true);
}

void HostSide::start_pass(Stage& on) {
  if (!tier_) return;
  on.device.start(*on.stream);
  if (!is_streamed_) return;
  ++n_streamed_passes_;
  has_lent_slots_ = true;
  on.device.synchronize(*on.stream);
  expert_stream_->end();
}

void HostSide::end_pass(Stage& on) {
  if (tier_) tier_->end_pass(*on.stream);
}

void HostSide::follow_store(Stage& on, std::span<const LayerExpert> moved) {
  if (tier_) host_places_->update(*on.stream, moved);
}

void HostSide::share(RoutedExperts& experts, uint32_t layer, int64_t n_rows) {
  if (!tier_) return;
  experts.places = tier_->places(layer);
  experts.host_places = sharing_.reads_host && n_rows == 1 ? host_places_->layer(layer) : nullptr;
  if (experts.host_places == nullptr) return;
  if (!split_) split_.emplace(experts.rule->n_chosen);
  experts.n_from_host = split_->counts(tier_->link_seconds(layer), sharing_.defers ? device_seconds_ : 0);
}

void HostSide::stream(RoutedExperts& experts, uint32_t layer) {
  experts.places = tier_->places(layer);
  experts.parts = &expert_stream_->parts(layer);
}

bool HostSide::defer(uint32_t layer) {
  const auto& weights = std::get<ExpertsWeights>(weights_.layers[layer].ffn);
  if (!sharing_.defers || layer + 1 == layers_.end || is_in_file(weights.shared)) return false;
  if (!std::holds_alternative<ExpertsWeights>(weights_.layers[layer + 1].ffn)) return false;
  deferred_layer_ = layer;
  return true;
}

void HostSide::time_device(uint32_t layer, const HostShare& share, double begin) {
  constexpr double kShareOfNew = 1.0 / 64, kLeastWait = 10e-6;
  if (last_begin_ > 0 && begin - last_end_ > kLeastWait) {
    const double own = begin - last_begin_ - static_cast<double>(last_read_) * tier_->link_seconds(layer);
    if (own > 0) device_seconds_ += device_seconds_ > 0 ? kShareOfNew * (own - device_seconds_) : own;
  }
  last_begin_ = begin;
  last_read_ = 0;
  for (size_t k = 0; k < share.ids.size(); ++k)
    if (is_hit(share.hits, k, static_cast<int64_t>(share.ids.size())) && !tier_->holds(layer, share.ids[k]))
      ++last_read_;
}

bool HostSide::multiply_experts(uint32_t layer, const HostShare& share, Rows results) {
  const auto& spec = std::get<ExpertsSpec>(spec_.layers[layer].ffn);
  const auto& weights = std::get<ExpertsWeights>(weights_.layers[layer].ffn);
  const int64_t n_used = spec.router.n_chosen;
  if (tier_) tier_->used(layer, n_used, share.ids, share.hits);
  const ExpertGroups groups = group_by_expert(share.ids, n_used, spec.router.n_experts, share.hits);
  const bool has_shared = is_in_file(weights.shared);
  if (groups.expert_ids.empty() && !has_shared) return false;

  WorkspaceScope scope(workspace_);
  const double begin = tier_ ? tier_->now() : 0;
  if (sharing_.defers && tier_ && results.n_rows == 1) time_device(layer, share, begin);
  const auto x = cpu_->prepare(*stream_, share.inputs);
  if (!groups.expert_ids.empty()) {
    std::vector<float> missed_weights(share.weights.begin(), share.weights.end());
    for (size_t pair = 0; pair < missed_weights.size(); ++pair)
      if (is_hit(share.hits, pair, n_used)) missed_weights[pair] = 0;
    const auto request = store_.begin(layer, groups.expert_ids, groups.n_rows);
    engine::multiply_experts(processor(), groups, *request, *x, missed_weights, n_used, results);
  }
  last_end_ = tier_ ? tier_->now() : 0;
  if (tier_ && results.n_rows == 1 && !groups.expert_ids.empty()) {
    const auto n_experts = static_cast<int64_t>(groups.expert_ids.size());
    tier_->host_took(n_experts, last_end_ - begin);
    if (split_) split_->took(n_experts, last_end_ - begin);
  }
  if (!has_shared) return true;
  if (groups.expert_ids.empty()) {
    dense_ffn(processor(), weights.shared, *x, results);
  } else {
    const Rows shared = workspace_.rows(results.n_rows, results.n_cols);
    dense_ffn(processor(), weights.shared, *x, shared);
    cpu_->add(*stream_, results, shared);
  }
  return true;
}

void HostSide::multiply(const DenseWeights& weights, Rows x, Rows results) {
  WorkspaceScope scope(workspace_);
  dense_ffn(processor(), weights, *cpu_->prepare(*stream_, x), results);
}

void HostSide::multiply_output(Rows x, Rows logits) {
  const auto input = cpu_->prepare(*stream_, x);
  std::vector<Product> products;
  int64_t done = 0;
  for (const Linear& piece : weights_.output) {
    products.push_back({&piece, input.get(), nullptr, logits.columns(done, piece.n_outputs)});
    done += piece.n_outputs;
  }
  cpu_->multiply(*stream_, products);
}

void HostSide::touch_weights(bool with_experts, const std::function<void(uint64_t done)>& on_bytes) {
  uint64_t done = 0;
  const auto touch = [&](const Linear& matrix) {
    if (!matrix || matrix.place != Place::MappedFile) return;
    cpu_->touch_weights(matrix.data, 1, matrix.bytes());
    done += matrix.bytes();
    on_bytes(done);
  };
  const auto touch_dense = [&](const DenseWeights& dense) {
    for (const Linear* matrix : {&dense.gate, &dense.up, &dense.down}) touch(*matrix);
  };
  for (uint32_t layer = layers_.begin; layer < layers_.end; ++layer) {
    if (const auto* dense = std::get_if<DenseWeights>(&weights_.layers[layer].ffn)) {
      touch_dense(*dense);
      continue;
    }
    const auto& experts = std::get<ExpertsWeights>(weights_.layers[layer].ffn);
    touch_dense(experts.shared);
    for (int32_t id = 0; tier_ && with_experts && id < experts.gate.count; ++id)
      if (!tier_->holds(layer, id))
        for (const LinearStack* stack : {&experts.gate, &experts.up, &experts.down}) touch(stack->at(id));
  }
  if (layers_.is_last(weights_.layers.size()))
    for (const Linear& piece : weights_.output) touch(piece);
}

}  // namespace sluice::engine
