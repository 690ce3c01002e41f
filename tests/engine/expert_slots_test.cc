// The table of slots against a slow and plain one, in long random sequences of what a store does with it.

#include "engine/store/expert_slots.h"

#include <doctest/doctest.h>

#include <string>

#include "tests/engine/disk_fixtures.h"

namespace sluice::tests {
namespace {

using engine::ExpertNumber;
using engine::ExpertSlots;
using engine::SlotNumber;

// What every slot holds, looked through from the first to the last for every question.
struct PlainSlots {
  struct Slot {
    uint32_t slot_class = 0;
    std::optional<ExpertNumber> expert;
    double worth = 0;
    int n_holders = 0;
  };
  std::vector<Slot> slots;

  explicit PlainSlots(const std::vector<uint32_t>& n_slots) {
    for (uint32_t slot_class = 0; slot_class < n_slots.size(); ++slot_class)
      for (uint32_t i = 0; i < n_slots[slot_class]; ++i) slots.push_back({slot_class, std::nullopt, 0, 0});
  }
  std::optional<SlotNumber> find(ExpertNumber expert) const {
    for (SlotNumber slot = 0; slot < slots.size(); ++slot)
      if (slots[slot].expert == expert) return slot;
    return std::nullopt;
  }
  // Any of these may be given to an expert of the class.
  std::vector<SlotNumber> candidates(uint32_t slot_class) const {
    std::vector<SlotNumber> free, least;
    double least_worth = 0;
    for (SlotNumber slot = 0; slot < slots.size(); ++slot) {
      const Slot& it = slots[slot];
      if (it.slot_class != slot_class) continue;
      if (!it.expert) free.push_back(slot);
      if (!it.expert || it.n_holders > 0) continue;
      if (least.empty() || it.worth < least_worth) {
        least = {slot};
        least_worth = it.worth;
      } else if (it.worth == least_worth) {
        least.push_back(slot);
      }
    }
    return free.empty() ? least : free;
  }
};

}  // namespace

TEST_CASE("slots hold what a plain table holds, through thousands of random steps") {
  struct Case {
    std::string what;
    std::vector<uint32_t> n_slots;  // of each class; expert e is of class e % classes
    uint32_t n_experts;
    uint64_t n_worths;  // few: many are equal
  };
  const Case cases[] = {
      {"one slot", {1}, 5, 3},
      {"one class", {7}, 30, 1000},
      {"all worth the same", {5}, 20, 1},
      {"three classes", {3, 1, 6}, 40, 50},
      {"more slots than experts", {20, 20}, 10, 50},
      {"no experts", {}, 0, 1},
  };
  for (const Case& test : cases) {
    CAPTURE(test.what);
    ExpertSlots slots(test.n_experts, test.n_slots);
    PlainSlots plain(test.n_slots);
    Dice dice(test.n_experts);
    CHECK(slots.n_slots() == plain.slots.size());
    if (plain.slots.empty()) continue;
    size_t n_taken = 0, n_refused = 0;
    for (int step = 0; step < 6000; ++step) {
      const auto expert = static_cast<ExpertNumber>(dice.below(test.n_experts));
      const auto slot_class = static_cast<uint32_t>(expert % test.n_slots.size());
      const auto slot = static_cast<SlotNumber>(dice.below(plain.slots.size()));
      const auto worth = static_cast<double>(dice.below(test.n_worths)) - 5;
      PlainSlots::Slot& at = plain.slots[slot];
      switch (dice.below(6)) {
        case 0:
        case 1:
          if (plain.find(expert)) break;
          if (const auto taken = slots.take(expert, slot_class, worth)) {
            const auto candidates = plain.candidates(slot_class);
            CHECK(std::ranges::find(candidates, *taken) != candidates.end());
            plain.slots[*taken] = {slot_class, expert, worth, 1};
            ++n_taken;
          } else {
            CHECK(plain.candidates(slot_class).empty());
            ++n_refused;
          }
          break;
        case 2:
          if (!at.expert) break;
          slots.set_worth(slot, worth);
          at.worth = worth;
          break;
        case 3:
          if (!at.expert || !dice.chance(40)) break;
          slots.hold(slot);
          ++at.n_holders;
          break;
        case 4:
          if (at.n_holders == 0) break;
          slots.release(slot);
          --at.n_holders;
          break;
        case 5:
          if (at.n_holders > 0 || !dice.chance(20)) break;
          slots.clear(slot);  // of a free one too
          at = {at.slot_class, std::nullopt, 0, 0};
          break;
      }
      CHECK(slots.find(expert) == plain.find(expert));
      CHECK(slots.expert_in(slot) == at.expert);
      CHECK(slots.is_held(slot) == (at.n_holders > 0));
      CHECK(slots.class_of(slot) == at.slot_class);
      CHECK(slots.n_in_use() == static_cast<size_t>(std::ranges::count_if(
                                    plain.slots, [](const auto& it) { return it.expert.has_value(); })));
    }
    for (ExpertNumber expert = 0; expert < test.n_experts; ++expert) CHECK(slots.find(expert) == plain.find(expert));
    CHECK(n_taken > 5);
    if (test.n_slots.size() < 2) CHECK(n_refused > 0);
  }
}

TEST_CASE("a held expert stays though it is worth least, and goes when nobody holds it any more") {
  ExpertSlots slots(10, {2});
  const SlotNumber first = *slots.take(0, 0, 1.0), second = *slots.take(1, 0, 100.0);
  CHECK(!slots.take(2, 0, 50.0));
  slots.hold(first);
  slots.release(first);
  slots.release(second);
  CHECK(slots.take(2, 0, 50.0) == second);
  CHECK(slots.find(0) == first);
  CHECK(!slots.find(1));
  slots.release(first);
  CHECK(slots.take(3, 0, 50.0) == first);
  CHECK(!slots.find(0));
}

TEST_CASE("classes share nothing: a full one takes no slot of another") {
  ExpertSlots slots(10, {1, 3});
  CHECK(slots.class_of(*slots.take(0, 0, 1.0)) == 0);
  CHECK(!slots.take(1, 0, 1.0));
  for (const ExpertNumber expert : {2u, 3u, 4u}) CHECK(slots.class_of(*slots.take(expert, 1, 1.0)) == 1);
  CHECK(!slots.take(5, 1, 1.0));
  CHECK(slots.n_in_use() == 4);
}

}  // namespace sluice::tests
