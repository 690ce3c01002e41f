#include "engine/store/expert_slots.h"

namespace sluice::engine {

ExpertSlots::ExpertSlots(size_t n_experts, std::vector<uint32_t> n_slots)
    : slot_of_(n_experts, kNone), free_(n_slots.size()), used_(n_slots.size()) {
  for (uint32_t slot_class = 0; slot_class < n_slots.size(); ++slot_class) {
    const auto first = static_cast<SlotNumber>(slots_.size());
    slots_.resize(slots_.size() + n_slots[slot_class], Slot{slot_class, kNone, 0, 0});
    for (SlotNumber slot = static_cast<SlotNumber>(slots_.size()); slot-- > first;) free_[slot_class].push_back(slot);
  }
}

std::optional<SlotNumber> ExpertSlots::find(ExpertNumber expert) const {
  const SlotNumber slot = slot_of_[expert];
  return slot == kNone ? std::nullopt : std::optional(slot);
}

std::optional<ExpertNumber> ExpertSlots::expert_in(SlotNumber slot) const {
  const ExpertNumber expert = slots_[slot].expert;
  return expert == kNone ? std::nullopt : std::optional(expert);
}

std::optional<SlotNumber> ExpertSlots::take(ExpertNumber expert, uint32_t slot_class, double worth) {
  if (free_[slot_class].empty()) {
    for (const auto& [ignored, slot] : used_[slot_class]) {
      if (slots_[slot].n_holders > 0) continue;
      clear(slot);
      break;
    }
    if (free_[slot_class].empty()) return std::nullopt;
  }
  const SlotNumber taken = free_[slot_class].back();
  free_[slot_class].pop_back();
  Slot& slot = slots_[taken];
  slot.expert = expert;
  slot.worth = worth;
  slot.n_holders = 1;
  slot_of_[expert] = taken;
  used_[slot_class].insert({worth, taken});
  ++n_in_use_;
  return taken;
}

std::optional<std::pair<ExpertNumber, double>> ExpertSlots::least_worth(uint32_t slot_class) const {
  if (!free_[slot_class].empty()) return std::nullopt;
  for (const auto& [worth, slot] : used_[slot_class])
    if (slots_[slot].n_holders == 0) return std::pair(slots_[slot].expert, worth);
  return std::nullopt;
}

std::optional<SlotNumber> ExpertSlots::withdraw(uint32_t slot_class) {
  if (free_[slot_class].empty()) {
    if (used_[slot_class].empty()) return std::nullopt;
    clear(used_[slot_class].begin()->second);
  }
  const SlotNumber slot = free_[slot_class].back();
  free_[slot_class].pop_back();
  return slot;
}

void ExpertSlots::put_back(SlotNumber slot) {
  free_[slots_[slot].slot_class].push_back(slot);
}

void ExpertSlots::take_away(SlotNumber slot) {
  clear(slot);
  std::erase(free_[slots_[slot].slot_class], slot);
}

void ExpertSlots::set_worth(SlotNumber number, double worth) {
  Slot& slot = slots_[number];
  auto& used = used_[slot.slot_class];
  used.erase({slot.worth, number});
  slot.worth = worth;
  used.insert({worth, number});
}

void ExpertSlots::clear(SlotNumber number) {
  Slot& slot = slots_[number];
  if (slot.expert == kNone) return;
  slot_of_[slot.expert] = kNone;
  slot.expert = kNone;
  used_[slot.slot_class].erase({slot.worth, number});
  free_[slot.slot_class].push_back(number);
  --n_in_use_;
}

}  // namespace sluice::engine
