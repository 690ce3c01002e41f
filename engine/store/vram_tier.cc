#include "engine/store/vram_tier.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <utility>
#include <variant>

#include "engine/store/clock.h"
#include "engine/store/disk_store.h"

namespace sluice::engine {

static std::vector<int64_t> experts_of_layers(const ModelWeights& weights, LayerRange layers) {
  std::vector<int64_t> n_experts;
  for (uint32_t layer = 0; layer < weights.layers.size(); ++layer) {
    const auto* experts = std::get_if<ExpertsWeights>(&weights.layers[layer].ffn);
    n_experts.push_back(experts != nullptr && layers.contains(layer) ? experts->gate.count : 0);
  }
  return n_experts;
}

static int64_t most_experts(const ModelWeights& weights) {
  return std::ranges::max(experts_of_layers(weights, {}));
}

// Without the heat of layers that another device has, and without one that is of another model.
static VramTierOptions for_layers(VramTierOptions options, const ModelWeights& weights, LayerRange layers) {
  const auto n_each = static_cast<size_t>(most_experts(weights));
  if (options.heat.size() != weights.layers.size() * n_each) options.heat.clear();
  for (size_t i = 0; i < options.heat.size(); ++i)
    if (!layers.contains(static_cast<uint32_t>(i / n_each))) options.heat[i] = 0;
  return options;
}

namespace {

// What is given back at once: small beside what experts take, large beside what an allocation costs.
constexpr uint64_t kMostChunkBytes = uint64_t{64} << 20;
constexpr uint64_t kLeastChunks = 64;  // in all, but for whole slots
constexpr uint32_t kNoClass = ~uint32_t{0};

}  // namespace

VramTier::VramTier(Device& device, const ModelWeights& weights, uint64_t bytes, uint64_t keep_free,
                   const VramTierOptions& options, const std::function<void(uint64_t done)>& on_bytes,
                   LayerRange layers)
    : device_(device),
      weights_(weights),
      layers_(layers.of(weights.layers.size())),
      options_(for_layers(options, weights, layers)),
      n_experts_a_layer_(most_experts(weights)),
      slots_(0, {}),
      popularity_(experts_of_layers(weights, layers), options_.heat, static_cast<size_t>(n_experts_a_layer_)),
      copies_(device.make_stream()) {
  if (!options_.promotion.now)
    options_.promotion.now = [] { return std::chrono::duration<double>(Clock::now().time_since_epoch()).count(); };
  make_classes();
  const size_t n_experts = weights.layers.size() * static_cast<size_t>(n_experts_a_layer_);
  policy_ = make_policy(options_.policy, n_experts, options_.heat);
  places_.resize(n_experts);
  n_uses_.resize(n_experts, 0);
  const uint64_t n_own = (layers_.end - layers_.begin) * static_cast<uint64_t>(n_experts_a_layer_);
  table_ = device_.allocate(n_own * sizeof(ExpertPlace));
  make_slots(bytes, keep_free);
  fill(on_bytes);
  if (options_.promotion.has_thread) background_ = std::make_unique<BackgroundCopies>(device_, *copies_);
}

VramTier::~VramTier() {
  background_.reset();
  try {
    device_.synchronize(*copies_);  // they write into slots
  } catch (...) {
  }
}

const ExpertsWeights* VramTier::experts_of(uint32_t layer) const {
  return layers_.contains(layer) ? std::get_if<ExpertsWeights>(&weights_.layers[layer].ffn) : nullptr;
}

void VramTier::make_classes() {
  for (uint32_t layer = 0; layer < weights_.layers.size(); ++layer) {
    class_of_layer_.push_back(kNoClass);
    const ExpertsWeights* const experts = experts_of(layer);
    if (experts == nullptr) continue;
    SlotClass wanted{experts->gate.first.bytes(), experts->up.first.bytes(), experts->down.first.bytes(), 0, 0};
    wanted.slot_bytes = in_slot(wanted.gate_bytes) + in_slot(wanted.up_bytes) + in_slot(wanted.down_bytes);
    const auto found = std::ranges::find_if(classes_, [&](const SlotClass& known) {
      return known.gate_bytes == wanted.gate_bytes && known.up_bytes == wanted.up_bytes &&
             known.down_bytes == wanted.down_bytes;
    });
    class_of_layer_.back() = static_cast<uint32_t>(found - classes_.begin());
    if (found == classes_.end()) classes_.push_back(wanted);
    classes_[class_of_layer_.back()].n_experts += static_cast<uint64_t>(experts->gate.count);
    counts_.n_experts += static_cast<uint64_t>(experts->gate.count);
  }
}

// The same share of every class.
void VramTier::make_slots(uint64_t bytes, uint64_t keep_free) {
  bytes = std::min(bytes, device_.room(keep_free));
  const uint64_t bytes_of_all = bytes;
  uint64_t all = 0;
  for (const SlotClass& slots : classes_) all += slots.n_experts * slots.slot_bytes;
  const double share = std::min(1.0, static_cast<double>(bytes) / static_cast<double>(std::max<uint64_t>(1, all)));
  std::vector<uint64_t> n_slots;
  for (const SlotClass& slots : classes_) {
    n_slots.push_back(static_cast<uint64_t>(share * static_cast<double>(slots.n_experts)));
    bytes -= std::min(bytes, n_slots.back() * slots.slot_bytes);
  }
  for (size_t i = 0; i < classes_.size(); ++i) {  // what rounding has left
    const uint64_t more = std::min(bytes / classes_[i].slot_bytes, classes_[i].n_experts - n_slots[i]);
    n_slots[i] += more;
    bytes -= more * classes_[i].slot_bytes;
  }
  const uint64_t chunk_bytes = std::min(kMostChunkBytes, std::min(bytes_of_all, all) / kLeastChunks);
  std::vector<uint32_t> made(classes_.size(), 0);
  for (uint32_t c = 0; c < classes_.size(); ++c) {
    const uint64_t a_chunk = std::max<uint64_t>(1, chunk_bytes / classes_[c].slot_bytes);
    while (made[c] < n_slots[c]) {
      const uint64_t n = add_chunk(c, std::min(a_chunk, n_slots[c] - made[c]), keep_free);
      if (n == 0) break;
      made[c] += static_cast<uint32_t>(n);
    }
  }
  counts_.n_slots = memory_.size();
  slots_ = ExpertSlots(places_.size(), made);
}

uint64_t VramTier::add_chunk(uint32_t slot_class, uint64_t n, uint64_t keep_free) {
  const uint64_t slot_bytes = classes_[slot_class].slot_bytes;
  std::unique_ptr<Buffer> buffer;
  while (n > 0 && (buffer = device_.allocate_own(n * slot_bytes, keep_free)) == nullptr) n /= 2;
  if (n == 0) return 0;
  auto* const memory = static_cast<std::byte*>(buffer->data());
  chunks_.push_back({std::move(buffer), static_cast<SlotNumber>(memory_.size()), static_cast<uint32_t>(n)});
  for (uint64_t i = 0; i < n; ++i) memory_.push_back(memory + i * slot_bytes);
  counts_.slot_bytes += n * slot_bytes;
  return n;
}

void VramTier::fill(const std::function<void(uint64_t done)>& on_bytes) {
  // By heat; where that says nothing the layers take turns.
  std::vector<ExpertNumber> order;
  for (int32_t id = 0; id < n_experts_a_layer_; ++id)
    for (uint32_t layer = layers_.begin; layer < layers_.end; ++layer)
      if (const ExpertsWeights* const experts = experts_of(layer))
        if (id < experts->gate.count) order.push_back(number_of(layer, id));
  if (!options_.heat.empty())
    std::ranges::stable_sort(order, std::greater(), [&](ExpertNumber expert) { return options_.heat[expert]; });
  uint64_t done = 0;
  for (const ExpertNumber expert : order) {
    const uint32_t layer = expert / static_cast<uint32_t>(n_experts_a_layer_);
    const uint32_t slot_class = class_of_layer_[layer];
    if (slots_.n_free(slot_class) == 0) continue;
    const auto slot = slots_.take(expert, slot_class, policy_->worth(expert));
    if (!slot) continue;
    slots_.release(*slot);
    const auto& stacks = std::get<ExpertsWeights>(weights_.layers[layer].ffn);
    const int64_t id = expert % static_cast<uint32_t>(n_experts_a_layer_);
    places_[expert] = place_of(*slot);
    const auto copy = [&](const std::byte* to, const Linear& from) {
      device_.copy_to_device(*copies_, const_cast<std::byte*>(to), from.data, from.bytes());
      done += from.bytes();
      if (options_.on_copied) options_.on_copied(from.data, from.bytes());
    };
    copy(places_[expert].gate, stacks.gate.at(id));
    copy(places_[expert].up, stacks.up.at(id));
    copy(places_[expert].down, stacks.down.at(id));
    if (on_bytes) on_bytes(done);
  }
  device_.copy_to_device(*copies_, table_->data(), places_.data() + number_of(layers_.begin, 0),
                         (number_of(layers_.end, 0) - number_of(layers_.begin, 0)) * sizeof(ExpertPlace));
  device_.synchronize(*copies_);
}

ExpertNumber VramTier::number_of(uint32_t layer, int32_t expert_id) const {
  return layer * static_cast<uint32_t>(n_experts_a_layer_) + static_cast<uint32_t>(expert_id);
}

LayerExpert VramTier::expert_of(ExpertNumber number) const {
  const auto n = static_cast<ExpertNumber>(n_experts_a_layer_);
  return {number / n, static_cast<int32_t>(number % n)};
}

ExpertPlace VramTier::place_of(SlotNumber slot) const {
  const SlotClass& slots = classes_[slots_.class_of(slot)];
  const std::byte* const up = memory_[slot] + in_slot(slots.gate_bytes);
  return {memory_[slot], up, up + in_slot(slots.up_bytes)};
}

const ExpertPlace* VramTier::places(uint32_t layer) const {
  if (class_of_layer_[layer] == kNoClass) return nullptr;
  return static_cast<const ExpertPlace*>(table_->data()) + number_of(layer - layers_.begin, 0);
}

double VramTier::link_bytes_per_second() const {
  return background_ && background_->bytes_per_second() > 0 ? background_->bytes_per_second()
                                                            : options_.promotion.link_bytes_per_second;
}

double VramTier::most_slot_bytes() const {
  uint64_t most = 0;
  for (const SlotClass& slots : classes_) most = std::max(most, slots.slot_bytes);
  return static_cast<double>(most);
}

double VramTier::link_seconds(uint32_t layer) const {
  return static_cast<double>(classes_[class_of_layer_[layer]].slot_bytes) / link_bytes_per_second();
}

bool VramTier::holds(uint32_t layer, int32_t expert_id) const {
  return places_[number_of(layer, expert_id)].gate != nullptr;
}

void VramTier::set_store(WeightStore& store) {
  store_ = &store;
  for (ExpertNumber expert = 0; expert < places_.size(); ++expert)
    if (places_[expert].gate != nullptr) store.may_drop(expert_of(expert).layer, expert_of(expert).expert_id);
}

void VramTier::begin_pass(int64_t n_rows) {
  if (pass_rows_ > 0 && pass_rows_ <= kSmallPassRows)
    credit_bytes_ += options_.promotion.share_of_link * link_bytes_per_second() * (now() - pass_begin_);
  pass_begin_ = now();
  if (background_) let_go_of_host_memory();  // else it would wait for copies that nobody needs yet
  pass_rows_ = n_rows;
  missed_.clear();
  popularity_.begin_pass(n_rows);
  n_tokens_ += static_cast<double>(n_rows);
  for (const ExpertNumber expert : policy_->begin_pass(n_rows))
    if (const auto slot = slots_.find(expert)) slots_.set_worth(*slot, policy_->worth(expert));
}

void VramTier::used(uint32_t layer, int64_t n_used, std::span<const int32_t> ids, std::span<const uint32_t> hits) {
  std::vector<int64_t> n_rows(static_cast<size_t>(n_experts_a_layer_), 0), n_hits(n_rows);
  for (size_t pair = 0; pair < ids.size(); ++pair) {
    ++n_rows[static_cast<size_t>(ids[pair])];
    n_hits[static_cast<size_t>(ids[pair])] += is_hit(hits, pair, n_used) ? 1 : 0;
  }
  for (int32_t id = 0; id < n_experts_a_layer_; ++id) {
    if (n_rows[static_cast<size_t>(id)] == 0) continue;
    const ExpertNumber expert = number_of(layer, id);
    const double worth = policy_->use(expert, n_rows[static_cast<size_t>(id)]);
    popularity_.use(expert, n_rows[static_cast<size_t>(id)]);
    n_uses_[expert] += static_cast<float>(n_rows[static_cast<size_t>(id)]);
    if (const auto slot = slots_.find(expert))
      slots_.set_worth(*slot, worth);
    else
      missed_.push_back({worth, expert});
    const int64_t n_here = n_hits[static_cast<size_t>(id)];
    if (n_here > 0 && store_ != nullptr) store_->used_elsewhere(layer, id, n_here);
  }
  if (pass_rows_ > kSmallPassRows) return;
  for (int32_t id = 0; id < n_experts_a_layer_; ++id) {
    const auto n = static_cast<uint64_t>(n_rows[static_cast<size_t>(id)]),
               n_by_device = static_cast<uint64_t>(n_hits[static_cast<size_t>(id)]);
    (holds(layer, id) ? counts_.n_hits : counts_.n_read_from_host) += n_by_device;
    counts_.n_misses += n - n_by_device;
  }
}

void VramTier::host_took(int64_t n_experts, double seconds) {
  constexpr double kShareOfNew = 1.0 / 64;
  if (n_experts <= 0 || seconds <= 0) return;
  const double each = seconds / static_cast<double>(n_experts);
  host_seconds_ += host_seconds_ > 0 ? kShareOfNew * (each - host_seconds_) : each;
}

void VramTier::end_pass(Stream& stream) {
  let_go_of_host_memory();
  welcome(stream);
  // A prompt chooses nearly every expert: what decode has gathered is not given up for that.
  if (options_.promotion.promotes && pass_rows_ <= kSmallPassRows) promote(stream);
}

void VramTier::write_place(Stream& stream, ExpertNumber expert, const ExpertPlace& place) {
  auto* const entry =
      static_cast<std::byte*>(table_->data()) + (expert - number_of(layers_.begin, 0)) * sizeof(ExpertPlace);
  device_.copy_to_device(stream, entry, &place, sizeof(ExpertPlace));
  places_[expert] = place;
}

// Its experts go one by one, so that what fails leaves the others where they are, and free slots.
void VramTier::empty_chunk(Stream& stream, const Chunk& chunk) {
  std::vector<std::unique_ptr<ExpertReturn>> returns;
  try {
    for (SlotNumber slot = chunk.first; slot < chunk.first + chunk.n_slots; ++slot) {
      const auto expert = slots_.expert_in(slot);
      if (!expert) continue;
      const auto [layer, id] = expert_of(*expert);
      const ExpertPlace place = places_[*expert];
      write_place(stream, *expert, {});
      slots_.clear(slot);
      if (store_ == nullptr) continue;
      auto back = store_->has(layer, id) ? nullptr : store_->bring_back(layer, id, [] { return false; });
      store_->needed_again(layer, id);
      if (!back) continue;
      const ExpertHandles handles = back->handles;
      returns.push_back(std::move(back));
      const auto copy = [&](const Linear& to, const std::byte* from) {
        device_.copy_to_host(stream, const_cast<std::byte*>(to.data), from, to.bytes());
      };
      copy(handles.gate, place.gate);
      copy(handles.up, place.up);
      copy(handles.down, place.down);
    }
    device_.synchronize(stream);
  } catch (...) {
    // Nothing may be on its way to memory that the store has again.
    stream.abandon();
    try {
      device_.synchronize(stream);
    } catch (...) {
    }
    throw;
  }
  for (const auto& back : returns) back->finish(true);
}

void VramTier::give_back(Stream& stream, uint64_t bytes) {
  settle(stream);
  for (uint64_t given = 0; given < bytes && !chunks_.empty();) {
    // The chunk whose best expert is worth least.
    const auto least = std::ranges::min_element(chunks_, std::less(), [&](const Chunk& chunk) {
      double worth = std::numeric_limits<double>::lowest();
      for (SlotNumber slot = chunk.first; slot < chunk.first + chunk.n_slots; ++slot)
        if (const auto expert = slots_.expert_in(slot)) worth = std::max(worth, policy_->worth(*expert));
      return worth;
    });
    empty_chunk(stream, *least);
    for (SlotNumber slot = least->first; slot < least->first + least->n_slots; ++slot) slots_.take_away(slot);
    given += least->buffer->bytes();
    counts_.n_slots -= least->n_slots;
    counts_.n_slots_given_back += least->n_slots;
    counts_.slot_bytes -= least->buffer->bytes();
    given_back_.push_back({nullptr, least->first, least->n_slots});
    chunks_.erase(least);
  }
}

// What was worth most went last, and comes first.
uint64_t VramTier::take_back(uint64_t bytes) {
  uint64_t taken = 0;
  while (!given_back_.empty()) {
    Chunk& chunk = given_back_.back();
    const uint64_t slot_bytes = classes_[slots_.class_of(chunk.first)].slot_bytes;
    const uint64_t chunk_bytes = chunk.n_slots * slot_bytes;
    if (chunk_bytes > bytes - taken) break;
    chunk.buffer = device_.allocate_own(chunk_bytes, 0);
    if (chunk.buffer == nullptr) break;
    auto* const memory = static_cast<std::byte*>(chunk.buffer->data());
    for (SlotNumber i = 0; i < chunk.n_slots; ++i) {
      memory_[chunk.first + i] = memory + i * slot_bytes;
      slots_.put_back(chunk.first + i);
    }
    taken += chunk_bytes;
    counts_.n_slots += chunk.n_slots;
    counts_.n_slots_taken_back += chunk.n_slots;
    counts_.slot_bytes += chunk_bytes;
    chunks_.push_back(std::move(chunk));
    given_back_.pop_back();
  }
  return taken;
}

std::vector<float> VramTier::heat() const {
  if (n_tokens_ <= 0) return {};
  std::vector<float> heat = n_uses_;
  for (float& uses : heat) uses = static_cast<float>(uses / n_tokens_);
  return heat;
}

VramStatistics VramTier::statistics() const {
  VramStatistics counts = counts_;
  if (background_) counts.copy_seconds = background_->busy_seconds();
  return counts;
}

}  // namespace sluice::engine
