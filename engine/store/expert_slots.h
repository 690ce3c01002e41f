// Which expert is in which slot. A table without threads, clock or disk, so that the simulator runs the same one.
//
// Slots of equal size form a class; a layer's experts live in slots of one class.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "engine/store/policy.h"

namespace sluice::engine {

using SlotNumber = uint32_t;

class ExpertSlots {
 public:
  // n_slots: of each class.
  ExpertSlots(size_t n_experts, std::vector<uint32_t> n_slots);

  // The slot that an expert is in, or on its way to.
  std::optional<SlotNumber> find(ExpertNumber expert) const;
  // Gives the expert a slot of the class: a free one, else that of the expert of least worth which nobody holds. The slot is
  // held. Nothing when all are held.
  std::optional<SlotNumber> take(ExpertNumber expert, uint32_t slot_class, double worth);
  // The expert that take() would put out, and its worth; nothing while a slot is free, or when all are held.
  std::optional<std::pair<ExpertNumber, double>> least_worth(uint32_t slot_class) const;
  void set_worth(SlotNumber slot, double worth);
  // Whoever holds a slot keeps its expert in it.
  void hold(SlotNumber slot) { ++slots_[slot].n_holders; }
  void release(SlotNumber slot) { --slots_[slot].n_holders; }
  bool is_held(SlotNumber slot) const { return slots_[slot].n_holders > 0; }
  // Makes a slot free that nobody holds.
  void clear(SlotNumber slot);

  // Takes a slot out of use, a free one or else that of the expert of least worth; nobody holds any. And puts it back, empty.
  std::optional<SlotNumber> withdraw(uint32_t slot_class);
  void put_back(SlotNumber slot);

  // Takes this slot out of use, whose expert is forgotten; nobody holds it. put_back() has it again.
  void take_away(SlotNumber slot);

  size_t n_free(uint32_t slot_class) const { return free_[slot_class].size(); }
  size_t n_slots() const { return slots_.size(); }
  size_t n_in_use() const { return n_in_use_; }
  uint32_t class_of(SlotNumber slot) const { return slots_[slot].slot_class; }
  std::optional<ExpertNumber> expert_in(SlotNumber slot) const;

 private:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
  struct Slot {
    uint32_t slot_class = 0;
    ExpertNumber expert = kNone;
    double worth = 0;
    uint32_t n_holders = 0;
  };
  std::vector<Slot> slots_;
  std::vector<SlotNumber> slot_of_;                            // of each expert
  std::vector<std::vector<SlotNumber>> free_;                  // of each class, the last first
  std::vector<std::set<std::pair<double, SlotNumber>>> used_;  // of each class, by worth
  size_t n_in_use_ = 0;
};

}  // namespace sluice::engine
