// The store beneath a tier of experts in a device's memory: which slots may go, and how experts come back.

#include <algorithm>
#include <deque>
#include <utility>

#include "engine/store/disk_store.h"

namespace sluice::engine {

// Below all that policies say.
static constexpr double kDroppable = -1e15;

double DiskStore::worth_of(ExpertNumber expert) const {
  return may_drop_[expert] ? kDroppable : policy_->worth(expert);
}

void DiskStore::may_drop(uint32_t layer, int32_t expert_id) {
  const ExpertNumber expert = number_of(layer, expert_id);
  if (may_drop_[expert]) return;
  may_drop_[expert] = true;
  if (const auto slot = slots_.find(expert))
    slots_.set_worth(*slot, kDroppable);
  else
    --n_without_slot_;
}

void DiskStore::needed_again(uint32_t layer, int32_t expert_id) {
  const ExpertNumber expert = number_of(layer, expert_id);
  if (!may_drop_[expert]) return;
  may_drop_[expert] = false;
  if (const auto slot = slots_.find(expert))
    slots_.set_worth(*slot, policy_->worth(expert));
  else
    ++n_without_slot_;
}

void DiskStore::used_elsewhere(uint32_t layer, int32_t expert_id, int64_t n_rows) {
  const ExpertNumber expert = number_of(layer, expert_id);
  policy_->use(expert, n_rows);
  n_uses_[expert] += static_cast<float>(n_rows);
  if (const auto slot = slots_.find(expert)) slots_.set_worth(*slot, worth_of(expert));
}

bool DiskStore::has(uint32_t layer, int32_t expert_id) const {
  const auto slot = slots_.find(number_of(layer, expert_id));
  if (!slot || slot_states_[*slot].is_broken) return false;
  const std::shared_ptr<Load>& load = slot_states_[*slot].load;
  return !load || !loader_.has_failed(*load);
}

bool DiskStore::can_spare_slots(uint32_t layer) const {
  const uint32_t slot_class = plan_.class_of_layer[layer], n_slots = plan_.classes[slot_class].n_slots;
  return n_lasting_[slot_class] + 2 + std::max(1u, n_slots / 4) <= n_slots;
}

class DiskStore::Return : public ExpertReturn {
 public:
  Return(DiskStore& store, uint32_t layer, int32_t expert_id, SlotNumber slot)
      : store_(store), expert_(store.number_of(layer, expert_id)), slot_(slot) {
    handles = store.handles_of(layer, expert_id, slot);
    ++store.n_lasting_[store.slots_.class_of(slot)];
  }
  ~Return() override { finish(false); }
  void finish(bool has_come) override {
    if (std::exchange(is_finished_, true)) return;
    SlotState& state = store_.slot_states_[slot_];
    // Else somebody has waited for it, and read it from the disk where it did not come.
    if (std::exchange(state.wait, nullptr)) {
      state.is_broken = !has_come;
      if (has_come) store_.note_moved(expert_);
    }
    --store_.n_lasting_[store_.slots_.class_of(slot_)];
    store_.release_slot(slot_);
  }

 private:
  DiskStore& store_;
  ExpertNumber expert_;
  SlotNumber slot_;
  bool is_finished_ = false;
};

std::unique_ptr<ExpertReturn> DiskStore::bring_back(uint32_t layer, int32_t expert_id, std::function<bool()> wait) {
  const ExpertNumber expert = number_of(layer, expert_id);
  const uint32_t slot_class = plan_.class_of_layer[layer];
  if (slots_.find(expert)) return nullptr;
  if (slots_.n_free(slot_class) == 0) {
    const auto least = slots_.least_worth(slot_class);
    if (!least) return nullptr;
    if (!may_drop_[least->first] && (is_complete() || least->second >= policy_->worth(expert))) return nullptr;
  }
  const auto slot = take_slot(expert, slot_class, worth_of(expert));
  if (!slot) return nullptr;
  empty(*slot);
  slot_states_[*slot].wait = std::move(wait);
  return std::make_unique<Return>(*this, layer, expert_id, *slot);
}

std::vector<LayerExpert> DiskStore::take_moved() {
  std::vector<LayerExpert> moved;
  for (const ExpertNumber expert : std::exchange(moved_, {})) {
    is_moved_[expert] = false;
    const auto n = static_cast<ExpertNumber>(n_experts_a_layer_);
    moved.push_back({expert / n, static_cast<int32_t>(expert % n)});
  }
  return moved;
}

void DiskStore::fill(const std::function<void(uint64_t done)>& on_bytes) {
  // On their way at once: enough for the disk to be busy.
  constexpr uint64_t kAtOnce = uint64_t{128} << 20;
  std::vector<LayerExpert> order;
  for (uint32_t layer = 0; layer < inventory_.experts.size(); ++layer)
    for (int32_t id = 0; id < inventory_.experts[layer].n_experts; ++id)
      if (!may_drop_[number_of(layer, id)] && !slots_.find(number_of(layer, id))) order.push_back({layer, id});
  std::ranges::sort(order, {}, [&](const LayerExpert& expert) {
    const Extent gate = inventory_.experts[expert.layer].parts[0].extent(expert.expert_id);
    return std::pair(gate.file, gate.offset);
  });
  struct Coming {
    SlotNumber slot = 0;
    uint64_t bytes = 0;
  };
  std::deque<Coming> coming;
  uint64_t done = 0, on_their_way = 0;
  for (size_t next = 0; next < order.size() || !coming.empty();) {
    std::vector<std::vector<LoadPart>> loads;
    std::vector<SlotNumber> slots;
    // Some at a time, so that neighbours in the file are read together.
    for (const bool begins = on_their_way <= kAtOnce / 2; begins && next < order.size() && on_their_way < kAtOnce;
         ++next) {
      const auto [layer, id] = order[next];
      const uint32_t slot_class = plan_.class_of_layer[layer];
      if (slots_.n_free(slot_class) == 0) continue;
      const ExpertNumber expert = number_of(layer, id);
      slots.push_back(*take_slot(expert, slot_class, worth_of(expert)));
      loads.push_back(load_parts(layer, id, slots.back()));
      coming.push_back({slots.back(), expert_bytes(layer)});
      on_their_way += coming.back().bytes;
    }
    const auto begun = loader_.begin(loads, Urgency::Soon);
    for (size_t i = 0; i < slots.size(); ++i) slot_states_[slots[i]].load = begun[i];
    if (coming.empty()) continue;
    const Coming first = coming.front();
    coming.pop_front();
    end_load(first.slot);
    release_slot(first.slot);
    on_their_way -= first.bytes;
    done += first.bytes;
    if (on_bytes) on_bytes(done);
  }
}

}  // namespace sluice::engine
