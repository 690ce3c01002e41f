#include "engine/store/disk_store.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <stdexcept>
#include <utility>

#include "engine/error.h"

namespace sluice::engine {

// Of the time between tokens, spent on turning dense weights into the forms that multiply faster.
static constexpr double kTurningShare = 0.3;

static int64_t most_experts(const StoreInventory& inventory) {
  int64_t most = 0;
  for (const ExpertTensors& layer : inventory.experts) most = std::max(most, layer.n_experts);
  return most;
}

static std::vector<uint32_t> slots_of_classes(const StorePlan& plan) {
  std::vector<uint32_t> n_slots;
  for (const SlotClass& slots : plan.classes) n_slots.push_back(slots.n_slots);
  return n_slots;
}

// The arena holds, in this order: dense weights that stay, the ring, the embedding's rows, the small weights, the slots.
static std::span<std::byte> ring_of(const Arena& arena, const StorePlan& plan) {
  return {arena.data() + plan.kept_bytes, plan.ring_bytes};
}

DiskStore::DiskStore(Device& device, StoreInventory inventory, const StorePlan& plan, const DiskFiles& files,
                     std::unique_ptr<Disk> disk, const DiskStoreOptions& options)
    : device_(device),
      stream_(device.make_stream()),
      inventory_(std::move(inventory)),
      plan_(plan),
      options_(options),
      arena_(plan.bytes(), Arena::Swap::Avoid),
      loader_(files, std::move(disk)),
      dense_(loader_, inventory_.dense, plan.stays, arena_.data(), ring_of(arena_, plan)),
      n_experts_a_layer_(most_experts(inventory_)),
      policy_(make_policy(options.policy, inventory_.experts.size() * static_cast<size_t>(n_experts_a_layer_),
                          options.heat)),
      slots_(inventory_.experts.size() * static_cast<size_t>(n_experts_a_layer_), slots_of_classes(plan)),
      slot_states_(slots_.n_slots()),
      disk_is_direct_(files.are_direct()),
      may_drop_(inventory_.experts.size() * static_cast<size_t>(n_experts_a_layer_), false),
      n_lasting_(plan.classes.size(), 0),
      is_moved_(may_drop_.size(), false),
      n_uses_(inventory_.experts.size() * static_cast<size_t>(n_experts_a_layer_), 0) {
  for (const ExpertTensors& layer : inventory_.experts) n_without_slot_ += static_cast<uint64_t>(layer.n_experts);
  if (options_.beside != nullptr) options_.beside->pin(arena_.data(), arena_.bytes());
  std::byte* at = arena_.data() + plan.kept_bytes + plan.ring_bytes;
  embedding_rows_ = at;
  at += plan.embedding_bytes;
  read_small_weights(at);
  at += plan.small_bytes;
  for (SlotNumber slot = 0; slot < slots_.n_slots(); ++slot) {
    slot_states_[slot].memory = at;
    at += plan.classes[slots_.class_of(slot)].slot_bytes();
  }
}

DiskStore::~DiskStore() {
  for (SlotState& slot : slot_states_)
    if (slot.load && !loader_.cancel(*slot.load)) loader_.settle(*slot.load);
  if (options_.beside != nullptr) options_.beside->unpin(arena_.data());
}

void DiskStore::read_small_weights(std::byte* to) {
  std::vector<LoadPart> parts;
  for (const SmallWeight& small : inventory_.small) {
    parts.push_back({small.extent, to});
    to += LoadPart::padded_bytes(small.extent, loader_.block_bytes());
  }
  loader_.wait(*loader_.begin(parts, Urgency::Now));
  for (size_t i = 0; i < parts.size(); ++i) inventory_.small[i].place(parts[i].data(loader_.block_bytes()));
}

bool DiskStore::needs_memory_of_passes(int64_t n_rows) const {
  return !lent_slots_.empty() && n_rows <= kSmallPassRows;
}

void DiskStore::lend() {
  for (uint32_t slot_class = 0; slot_class < plan_.classes.size(); ++slot_class) {
    const SlotClass& slots = plan_.classes[slot_class];
    for (uint32_t i = 0; i < slots.n_lent; ++i) {
      const auto victim = slots_.least_worth(slot_class);
      const auto slot = slots_.withdraw(slot_class);
      if (!slot) break;
      if (victim) lose_slot(victim->first);
      empty(*slot);
      arena_.give_back(slot_states_[*slot].memory, slots.slot_bytes());
      lent_slots_.push_back(*slot);
    }
  }
}

void DiskStore::take_back() {
  for (const SlotNumber slot : std::exchange(lent_slots_, {})) slots_.put_back(slot);
}

void DiskStore::begin_pass(int64_t n_rows) {
  // After a token, and never before the first one: a share of the time that it took.
  if (n_rows == 1 && pass_rows_ == 1) dense_.turn_some(device_, *stream_, kTurningShare * seconds_since(pass_begin_));
  pass_begin_ = Clock::now();
  pass_rows_ = n_rows;
  for (const ExpertNumber expert : policy_->begin_pass(n_rows))
    if (const auto slot = slots_.find(expert)) slots_.set_worth(*slot, worth_of(expert));
  n_tokens_ += static_cast<double>(n_rows);
  // A pass that was given up may have left a guess behind.
  for (const SlotNumber slot : std::exchange(guessed_slots_, {})) release_slot(slot);
  guessed_ids_.clear();
  request_is_waiting_ = false;
  if (n_rows <= kSmallPassRows)
    take_back();
  else if (lent_slots_.empty())
    lend();
}

EmbeddingRows DiskStore::embedding(std::span<const int32_t> ids) {
  const ExpertTensor& table = inventory_.embedding;
  if (table.matrix_bytes == 0) return {table.matrix, {ids.begin(), ids.end()}};
  std::vector<int32_t> distinct(ids.begin(), ids.end());
  std::ranges::sort(distinct);
  distinct.erase(std::ranges::unique(distinct).begin(), distinct.end());
  const uint64_t block = loader_.block_bytes();
  const uint64_t room = LoadPart::most_padded_bytes(table.matrix_bytes, block);
  const uint64_t rows_at_once = plan_.embedding_bytes / room;
  packed_rows_.resize(distinct.size() * table.matrix_bytes);
  const Clock::time_point begin = Clock::now();
  for (size_t done = 0; done < distinct.size();) {
    const size_t n = std::min<size_t>(rows_at_once, distinct.size() - done);
    std::vector<LoadPart> parts;
    for (size_t i = 0; i < n; ++i) parts.push_back({table.extent(distinct[done + i]), embedding_rows_ + room * i});
    loader_.wait(*loader_.begin(parts, Urgency::Now));
    for (size_t i = 0; i < n; ++i)
      std::memcpy(packed_rows_.data() + table.matrix_bytes * (done + i), parts[i].data(block), table.matrix_bytes);
    done += n;
  }
  counts_.embedding_wait_seconds += seconds_since(begin);
  EmbeddingRows rows{table.matrix, {}};
  rows.table.data = packed_rows_.data();
  rows.table.n_outputs = static_cast<int64_t>(distinct.size());
  for (const int32_t id : ids)
    rows.rows.push_back(static_cast<int32_t>(std::ranges::lower_bound(distinct, id) - distinct.begin()));
  return rows;
}

ExpertNumber DiskStore::number_of(uint32_t layer, int32_t expert_id) const {
  return static_cast<ExpertNumber>(int64_t{layer} * n_experts_a_layer_ + expert_id);
}

uint64_t DiskStore::expert_bytes(uint32_t layer) const {
  uint64_t bytes = 0;
  for (const ExpertTensor& part : inventory_.experts[layer].parts) bytes += part.matrix_bytes;
  return bytes;
}

std::vector<LoadPart> DiskStore::load_parts(uint32_t layer, int32_t expert_id, SlotNumber slot) const {
  const SlotClass& sizes = plan_.classes[slots_.class_of(slot)];
  std::byte* to = slot_states_[slot].memory;
  std::vector<LoadPart> parts;
  for (size_t p = 0; p < 3; ++p) {
    parts.push_back({inventory_.experts[layer].parts[p].extent(expert_id), to});
    to += sizes.part_bytes[p];
  }
  return parts;
}

ExpertHandles DiskStore::handles_of(uint32_t layer, int32_t expert_id, SlotNumber slot) const {
  const std::vector<LoadPart> parts = load_parts(layer, expert_id, slot);
  ExpertHandles handles;
  Linear* const matrices[] = {&handles.gate, &handles.up, &handles.down};
  for (size_t p = 0; p < 3; ++p) {
    *matrices[p] = inventory_.experts[layer].parts[p].matrix;
    matrices[p]->data = parts[p].data(loader_.block_bytes());
  }
  return handles;
}

void DiskStore::end_load(SlotNumber slot) {
  const std::shared_ptr<Load> load = std::exchange(slot_states_[slot].load, nullptr);
  if (!load) return;
  slot_states_[slot].is_broken = true;
  loader_.wait(*load);
  slot_states_[slot].is_broken = false;
  if (const auto expert = slots_.expert_in(slot)) note_moved(*expert);
}

void DiskStore::empty(SlotNumber slot) {
  SlotState& state = slot_states_[slot];
  if (state.load && !loader_.cancel(*state.load)) loader_.settle(*state.load);
  state.load = nullptr;
  state.is_guess = false;
}

void DiskStore::release_slot(SlotNumber slot) {
  slots_.release(slot);
  SlotState& state = slot_states_[slot];
  if (!state.is_broken || slots_.is_held(slot)) return;
  state.is_broken = false;
  clear_slot(slot);
}

std::optional<SlotNumber> DiskStore::take_slot(ExpertNumber expert, uint32_t slot_class, double worth) {
  const auto victim = slots_.least_worth(slot_class);
  const auto slot = slots_.take(expert, slot_class, worth);
  if (!slot) return slot;
  if (victim) lose_slot(victim->first);
  if (!may_drop_[expert]) --n_without_slot_;
  return slot;
}

void DiskStore::clear_slot(SlotNumber slot) {
  if (const auto expert = slots_.expert_in(slot)) lose_slot(*expert);
  slots_.clear(slot);
}

void DiskStore::lose_slot(ExpertNumber expert) {
  if (!may_drop_[expert]) ++n_without_slot_;
  note_moved(expert);
}

void DiskStore::note_moved(ExpertNumber expert) {
  if (is_moved_[expert]) return;
  is_moved_[expert] = true;
  moved_.push_back(expert);
}

bool DiskStore::is_on_its_way(SlotNumber slot) const {
  const SlotState& state = slot_states_[slot];
  return state.wait || (state.load && !loader_.is_done(*state.load));
}

void DiskStore::settle(uint32_t layer, int32_t expert_id, SlotNumber slot) {
  SlotState& state = slot_states_[slot];
  if (state.wait) {
    const std::function<bool()> wait = std::exchange(state.wait, nullptr);
    if (wait())
      note_moved(number_of(layer, expert_id));
    else
      state.load = loader_.begin(load_parts(layer, expert_id, slot), Urgency::Now);
  }
  if (state.load) loader_.settle(*state.load);
}

// The experts that one layer chose. Those that are there come first; for the others slots are found as they become free.
class DiskStore::Request : public ExpertRequest {
 public:
  Request(DiskStore& store, uint32_t layer, std::span<const int32_t> expert_ids, std::span<const int64_t> n_rows)
      : store_(store), layer_(layer), ids_(expert_ids.begin(), expert_ids.end()) {
    const uint64_t bytes = store.expert_bytes(layer);
    for (size_t i = 0; i < ids_.size(); ++i) {
      const ExpertNumber number = store.number_of(layer, ids_[i]);
      store.policy_->use(number, n_rows[i]);
      const double worth = store.worth_of(number);
      store.n_uses_[number] += static_cast<float>(n_rows[i]);
      if (const auto slot = store.slots_.find(number)) {
        store.slots_.set_worth(*slot, worth);
        adopt(i, *slot, bytes);
      } else {
        waiting_.push_back({i, worth});
        ++store.counts_.n_misses;
        store.counts_.miss_bytes += bytes;
      }
    }
    begin_loads();
  }
  ~Request() override {
    for (const Coming& expert : coming_) store_.release_slot(expert.slot);
    for (const SlotNumber slot : in_use_) store_.release_slot(slot);
    store_.request_is_waiting_ = false;
  }

  std::span<const Ready> next() override {
    ready_.clear();
    for (const SlotNumber slot : std::exchange(in_use_, {})) store_.release_slot(slot);
    begin_loads();
    store_.begin_guessed_loads();
    take_what_is_there();
    if (ready_.empty() && coming_.empty() && !waiting_.empty())
      throw std::logic_error("Experts wait for memory that nobody will let go.");
    if (ready_.empty() && !coming_.empty()) {
      const Clock::time_point begin = Clock::now();
      const Coming expert = coming_.front();
      store_.settle(layer_, ids_[expert.index], expert.slot);
      store_.counts_.expert_wait_seconds += seconds_since(begin);
      take_what_is_there();
    }
    return ready_;
  }

 private:
  struct Coming {
    size_t index = 0;
    SlotNumber slot = 0;
  };
  struct Waiting {
    size_t index = 0;
    double worth = 0;
  };

  // An expert that has a slot already.
  void adopt(size_t index, SlotNumber number, uint64_t bytes) {
    SlotState& slot = store_.slot_states_[number];
    store_.slots_.hold(number);
    if (std::exchange(slot.is_guess, false)) {
      ++store_.counts_.n_guessed;
      store_.counts_.guessed_bytes += bytes;
    } else {
      ++store_.counts_.n_hits;
      store_.counts_.hit_bytes += bytes;
    }
    if (slot.load && store_.loader_.has_failed(*slot.load))  // a guess: now that it matters, once more
      slot.load = store_.loader_.begin(store_.load_parts(layer_, ids_[index], number), Urgency::Now);
    if (slot.load) store_.loader_.hasten(*slot.load, Urgency::Now);
    coming_.push_back({index, number});
  }

  // Finds slots for as many of the others as it can, and reads them together, so that neighbours in the file are read as one.
  void begin_loads() {
    std::vector<std::vector<LoadPart>> loads;
    std::vector<SlotNumber> slots;
    while (!waiting_.empty()) {
      const auto [index, worth] = waiting_.front();
      const ExpertNumber number = store_.number_of(layer_, ids_[index]);
      const auto slot = store_.take_slot(number, store_.plan_.class_of_layer[layer_], worth);
      if (!slot) break;
      store_.empty(*slot);
      loads.push_back(store_.load_parts(layer_, ids_[index], *slot));
      slots.push_back(*slot);
      coming_.push_back({index, *slot});
      waiting_.pop_front();
    }
    const auto begun = store_.loader_.begin(loads, Urgency::Now);
    for (size_t i = 0; i < slots.size(); ++i) store_.slot_states_[slots[i]].load = begun[i];
    store_.request_is_waiting_ = !waiting_.empty();
  }

  void take_what_is_there() {
    std::deque<Coming> still_coming;
    for (size_t i = 0; i < coming_.size(); ++i) {
      const Coming expert = coming_[i];
      if (store_.is_on_its_way(expert.slot)) {
        still_coming.push_back(expert);
        continue;
      }
      in_use_.push_back(expert.slot);
      ready_.push_back({expert.index, {}});
    }
    coming_ = std::move(still_coming);
    for (size_t i = 0; i < ready_.size(); ++i) {
      store_.end_load(in_use_[i]);  // throws what went wrong; the slots are let go with the request
      ready_[i].handles = store_.handles_of(layer_, ids_[ready_[i].index], in_use_[i]);
    }
  }

  DiskStore& store_;
  uint32_t layer_;
  std::vector<int32_t> ids_;
  std::deque<Waiting> waiting_;     // without a slot
  std::deque<Coming> coming_;       // with a slot, not handed out
  std::vector<SlotNumber> in_use_;  // handed out by the last call
  std::vector<Ready> ready_;
};

std::unique_ptr<ExpertRequest> DiskStore::begin(uint32_t layer, std::span<const int32_t> expert_ids,
                                                std::span<const int64_t> n_rows) {
  compare_guess(layer, expert_ids);
  drop_wrong_guesses(layer, expert_ids);
  return std::make_unique<Request>(*this, layer, expert_ids, n_rows);
}

// A slot that is held already; `is_passing`: it is free when this ends.
class DiskStore::Held : public ExpertHold {
 public:
  Held(DiskStore& store, uint32_t layer, int32_t expert_id, SlotNumber slot, bool is_passing = false)
      : store_(store), layer_(layer), expert_id_(expert_id), slot_(slot), is_passing_(is_passing) {
    handles = store.handles_of(layer, expert_id, slot);
    ++store.n_lasting_[store.slots_.class_of(slot)];
  }
  ~Held() override {
    --store_.n_lasting_[store_.slots_.class_of(slot_)];
    store_.release_slot(slot_);
    if (!is_passing_ || store_.slots_.is_held(slot_)) return;
    store_.empty(slot_);
    store_.clear_slot(slot_);
  }
  void wait() override {
    SlotState& state = store_.slot_states_[slot_];
    if (state.load) store_.loader_.hasten(*state.load, Urgency::Now);
    const Clock::time_point begin = Clock::now();
    store_.settle(layer_, expert_id_, slot_);
    store_.counts_.expert_wait_seconds += seconds_since(begin);
    store_.end_load(slot_);
  }

 private:
  DiskStore& store_;
  uint32_t layer_;
  int32_t expert_id_;
  SlotNumber slot_;
  bool is_passing_;
};

std::unique_ptr<ExpertHold> DiskStore::hold(uint32_t layer, int32_t expert_id) {
  const auto slot = slots_.find(number_of(layer, expert_id));
  if (!slot || is_on_its_way(*slot) || slot_states_[*slot].is_broken) return nullptr;
  if (std::shared_ptr<Load>& load = slot_states_[*slot].load) {  // a request that was given up has left it
    if (loader_.has_failed(*load)) return nullptr;
    load = nullptr;
    note_moved(number_of(layer, expert_id));
  }
  slots_.hold(*slot);
  return std::make_unique<Held>(*this, layer, expert_id, *slot);
}

// Whoever fetches comes by one expert after the other, and would find none of them here when he comes again: the slot goes to the next.
std::unique_ptr<ExpertHold> DiskStore::fetch(uint32_t layer, int32_t expert_id) {
  const ExpertNumber expert = number_of(layer, expert_id);
  const auto begin = [&](SlotNumber slot) {
    slot_states_[slot].load = loader_.begin(load_parts(layer, expert_id, slot), Urgency::Soon);
    slot_states_[slot].is_broken = false;
  };
  if (const auto slot = slots_.find(expert)) {
    const SlotState& state = slot_states_[*slot];
    slots_.hold(*slot);
    if (state.is_broken || (state.load && loader_.has_failed(*state.load))) begin(*slot);
    ++counts_.n_hits;
    counts_.hit_bytes += expert_bytes(layer);
    return std::make_unique<Held>(*this, layer, expert_id, *slot);
  }
  const auto slot = take_slot(expert, plan_.class_of_layer[layer], worth_of(expert));
  if (!slot) return nullptr;
  empty(*slot);
  begin(*slot);
  ++counts_.n_misses;
  counts_.miss_bytes += expert_bytes(layer);
  return std::make_unique<Held>(*this, layer, expert_id, *slot, true);
}

int64_t DiskStore::n_fetchable(uint32_t layer) const {
  const uint32_t slot_class = plan_.class_of_layer[layer];
  int64_t n = int64_t{plan_.classes[slot_class].n_slots} - n_lasting_[slot_class];
  for (const SlotNumber slot : lent_slots_) n -= slots_.class_of(slot) == slot_class ? 1 : 0;
  return n;
}

double DiskStore::read_bytes_per_second() const {
  const LoaderCounts counts = loader_.counts();
  return counts.busy_seconds > 0 ? static_cast<double>(counts.bytes_read) / counts.busy_seconds : 0;
}

bool DiskStore::wants_guess(uint32_t layer) const {
  if (!options_.guesses || layer >= inventory_.experts.size() || inventory_.experts[layer].n_experts == 0) return false;
  const SlotClass& slots = plan_.classes[plan_.class_of_layer[layer]];
  return slots.n_slots < slots.n_experts;
}

void DiskStore::guess(uint32_t layer, std::span<const int32_t> expert_ids) {
  guessed_layer_ = layer;
  guessed_ids_.assign(expert_ids.begin(), expert_ids.end());
  n_guesses_begun_ = 0;
  begin_guessed_loads();
}

// As many as there are slots for that nobody holds, once all that is needed now has one.
void DiskStore::begin_guessed_loads() {
  if (request_is_waiting_) return;
  std::vector<std::vector<LoadPart>> loads;
  std::vector<SlotNumber> slots;
  for (; n_guesses_begun_ < guessed_ids_.size(); ++n_guesses_begun_) {
    const int32_t id = guessed_ids_[n_guesses_begun_];
    const ExpertNumber number = number_of(guessed_layer_, id);
    if (const auto slot = slots_.find(number)) {
      slots_.hold(*slot);
      guessed_slots_.push_back(*slot);
      continue;
    }
    const auto slot = take_slot(number, plan_.class_of_layer[guessed_layer_], worth_of(number));
    if (!slot) break;
    empty(*slot);
    loads.push_back(load_parts(guessed_layer_, id, *slot));
    slots.push_back(*slot);
    guessed_slots_.push_back(*slot);
  }
  const auto begun = loader_.begin(loads, Urgency::Guess);
  for (size_t i = 0; i < slots.size(); ++i) {
    slot_states_[slots[i]].load = begun[i];
    slot_states_[slots[i]].is_guess = true;
  }
}

void DiskStore::compare_guess(uint32_t layer, std::span<const int32_t> expert_ids) {
  if (guessed_ids_.empty() || guessed_layer_ != layer) return;
  counts_.n_guesses += guessed_ids_.size();
  counts_.n_guessable += expert_ids.size();
  for (const int32_t id : guessed_ids_) counts_.n_right_guesses += std::ranges::binary_search(expert_ids, id) ? 1u : 0u;
}

// Lets go of what was guessed. What was guessed wrongly and is still in the queue is not read at all.
void DiskStore::drop_wrong_guesses(uint32_t layer, std::span<const int32_t> expert_ids) {
  for (const SlotNumber slot : std::exchange(guessed_slots_, {})) {
    release_slot(slot);
    const auto expert = slots_.expert_in(slot);
    SlotState& state = slot_states_[slot];
    if (!expert || !state.load || slots_.is_held(slot)) continue;
    const auto id = static_cast<int32_t>(*expert - number_of(layer, 0));
    const bool is_wrong = guessed_layer_ != layer || !std::ranges::binary_search(expert_ids, id);
    if (!is_wrong || !loader_.cancel(*state.load)) continue;
    state.load = nullptr;
    state.is_guess = false;
    clear_slot(slot);
  }
  guessed_ids_.clear();
}

StoreStatistics DiskStore::statistics() const {
  StoreStatistics counts = counts_;
  counts.reads_disk = true;
  counts.disk = loader_.disk_name();
  counts.disk_is_direct = disk_is_direct_;
  counts.memory_is_locked = arena_.is_locked();
  counts.policy = policy_name(options_.policy);
  counts.memory_bytes = arena_.bytes();
  counts.dense_bytes = dense_bytes(inventory_, loader_.block_bytes());
  counts.dense_kept_bytes = plan_.kept_bytes;
  counts.read_ahead_bytes = plan_.ring_bytes;
  for (uint32_t layer = 0; layer < inventory_.experts.size(); ++layer) {
    const auto n = static_cast<uint64_t>(inventory_.experts[layer].n_experts);
    if (n == 0) continue;
    counts.n_experts += n;
    counts.expert_bytes += n * expert_bytes(layer);
  }
  counts.n_expert_slots = slots_.n_slots();
  const LoaderCounts disk = loader_.counts();
  counts.n_reads = disk.n_reads;
  counts.bytes_read = disk.bytes_read;
  counts.disk_busy_seconds = disk.busy_seconds;
  counts.dense_wait_seconds = dense_.wait_seconds();
  counts.dense_read_bytes = dense_.bytes_read();
  return counts;
}

std::vector<float> DiskStore::heat() const {
  std::vector<float> heat = n_uses_;
  for (float& uses : heat) uses = n_tokens_ > 0 ? static_cast<float>(uses / n_tokens_) : 0;
  return heat;
}

}  // namespace sluice::engine
