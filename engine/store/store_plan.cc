#include "engine/store/store_plan.h"

#include <algorithm>
#include <stdexcept>

#include "engine/store/dense_stream.h"

namespace sluice::engine {
namespace {

// Beside the smallest ring, room in which the disk can go on while a part of the ring is multiplied by.
constexpr uint64_t kRingAhead = uint64_t{64} << 20;
// When dense weights do not all fit, experts keep slots for so many of a class, and no more than this share of the memory: a few
// let reading and multiplying overlap, and further ones would save less than the dense weights that they cost.
constexpr uint32_t kFewSlots = 24;
constexpr uint64_t kFewSlotsShare = 8;

void add_classes(StorePlan& plan, const StoreInventory& inventory, uint64_t block_bytes) {
  plan.class_of_layer.resize(inventory.experts.size(), 0);
  for (size_t layer = 0; layer < inventory.experts.size(); ++layer) {
    const ExpertTensors& experts = inventory.experts[layer];
    if (experts.n_experts == 0) continue;
    SlotClass of_layer;
    for (size_t p = 0; p < 3; ++p)
      of_layer.part_bytes[p] = LoadPart::most_padded_bytes(experts.parts[p].matrix_bytes, block_bytes);
    auto found = std::ranges::find(plan.classes, of_layer.part_bytes, &SlotClass::part_bytes);
    if (found == plan.classes.end()) found = plan.classes.insert(plan.classes.end(), of_layer);
    found->n_experts += static_cast<uint32_t>(experts.n_experts);
    plan.class_of_layer[layer] = static_cast<uint32_t>(found - plan.classes.begin());
  }
}

uint64_t one_slot_each(const StorePlan& plan) {
  uint64_t bytes = 0;
  for (const SlotClass& slots : plan.classes) bytes += slots.slot_bytes();
  return bytes;
}

// Slots in `bytes`: every class the same share of its experts, and at least one.
void give_slots(StorePlan& plan, uint64_t bytes) {
  uint64_t all = 0;
  for (const SlotClass& slots : plan.classes) all += slots.slot_bytes() * slots.n_experts;
  uint64_t left = bytes;
  for (SlotClass& slots : plan.classes) {
    slots.n_slots = 1;
    left -= slots.slot_bytes();
  }
  if (all == 0) return;
  const double share = static_cast<double>(bytes) / static_cast<double>(all);
  for (SlotClass& slots : plan.classes) {
    const auto wanted = static_cast<uint64_t>(share * static_cast<double>(slots.n_experts));
    const uint64_t more =
        std::min({wanted > 1 ? wanted - 1 : 0, left / slots.slot_bytes(), uint64_t{slots.n_experts - 1}});
    slots.n_slots += static_cast<uint32_t>(more);
    left -= more * slots.slot_bytes();
  }
  for (SlotClass& slots : plan.classes) {  // what rounding has left
    const uint64_t more = std::min<uint64_t>(left / slots.slot_bytes(), slots.n_experts - slots.n_slots);
    slots.n_slots += static_cast<uint32_t>(more);
    left -= more * slots.slot_bytes();
    plan.slot_bytes += slots.slot_bytes() * slots.n_slots;
  }
}

// Chooses the dense parts that pass through the ring, at least `bytes` of them, evenly over the pass. The pieces of the output come
// at its end together, so they are chosen last.
void choose_streamed(StorePlan& plan, const StoreInventory& inventory, uint64_t bytes, uint64_t block_bytes) {
  const size_t n_parts = inventory.dense.size(), n_layer_parts = 2 * inventory.experts.size();
  const auto choose_among = [&](size_t begin, size_t end, uint64_t wanted) {
    uint64_t total = 0, seen = 0, chosen = 0;
    for (size_t i = begin; i < end; ++i) total += padded_bytes(inventory.dense[i], block_bytes);
    if (total == 0) return uint64_t{0};
    for (size_t i = begin; i < end && chosen < wanted; ++i) {
      const uint64_t part = padded_bytes(inventory.dense[i], block_bytes);
      if (part == 0) continue;
      seen += part;
      // As much as the even share of what has been passed, or all that is left when that is needed.
      const double due =
          static_cast<double>(std::min(wanted, total)) * static_cast<double>(seen) / static_cast<double>(total);
      const bool is_due = static_cast<double>(chosen) + 0.5 * static_cast<double>(part) <= due;
      const bool is_needed = total - seen < wanted - chosen;
      if (!is_due && !is_needed) continue;
      plan.stays[i] = false;
      chosen += part;
    }
    return chosen;
  };
  const uint64_t of_layers = choose_among(0, n_layer_parts, bytes);
  if (of_layers < bytes) choose_among(n_layer_parts, n_parts, bytes - of_layers);
}

StorePlan with_fixed_parts(const StoreInventory& inventory, int64_t n_batch, uint64_t block_bytes) {
  StorePlan plan;
  for (const SmallWeight& small : inventory.small)
    plan.small_bytes += LoadPart::padded_bytes(small.extent, block_bytes);
  const uint64_t row = LoadPart::most_padded_bytes(inventory.embedding.matrix_bytes, block_bytes);
  plan.embedding_bytes = row * static_cast<uint64_t>(n_batch);
  plan.stays.resize(inventory.dense.size(), true);
  add_classes(plan, inventory, block_bytes);
  return plan;
}

}  // namespace

uint64_t output_piece_bytes(uint64_t store_bytes) {
  uint64_t bytes = uint64_t{64} << 20;
  while (bytes > (uint64_t{1} << 20) && bytes > store_bytes / 16) bytes /= 2;
  return bytes;
}

uint64_t dense_bytes(const StoreInventory& inventory, uint64_t block_bytes) {
  uint64_t bytes = 0;
  for (const DensePart& part : inventory.dense) bytes += padded_bytes(part, block_bytes);
  return bytes;
}

uint64_t kept_dense_bytes(const StoreInventory& inventory, uint64_t block_bytes) {
  uint64_t bytes = 0;
  for (const DensePart& part : inventory.dense) bytes += kept_bytes(part, block_bytes);
  return bytes;
}

bool all_dense_stays(const StoreInventory& inventory, int64_t n_batch, uint64_t bytes, uint64_t block_bytes) {
  const StorePlan plan = with_fixed_parts(inventory, n_batch, block_bytes);
  return plan.bytes() + one_slot_each(plan) + kept_dense_bytes(inventory, block_bytes) <=
         bytes / block_bytes * block_bytes;
}

uint64_t least_store_bytes(const StoreInventory& inventory, int64_t n_batch, uint64_t block_bytes) {
  const StorePlan plan = with_fixed_parts(inventory, n_batch, block_bytes);
  const std::vector<bool> none_stays(inventory.dense.size(), false);
  return plan.bytes() + one_slot_each(plan) + smallest_ring(inventory.dense, none_stays, block_bytes);
}

StorePlan plan_store(const StoreInventory& inventory, int64_t n_batch, uint64_t bytes, uint64_t block_bytes) {
  bytes = bytes / block_bytes * block_bytes;
  StorePlan plan = with_fixed_parts(inventory, n_batch, block_bytes);
  const uint64_t dense = dense_bytes(inventory, block_bytes);
  const uint64_t fixed = plan.bytes(), slots_at_least = one_slot_each(plan);
  if (bytes < least_store_bytes(inventory, n_batch, block_bytes))
    throw std::invalid_argument("A store was given less memory than it can work in.");

  if (all_dense_stays(inventory, n_batch, bytes, block_bytes)) {
    plan.kept_bytes = kept_dense_bytes(inventory, block_bytes);
    give_slots(plan, bytes - fixed - plan.kept_bytes);
    return plan;
  }

  uint64_t slot_room = slots_at_least;
  for (const SlotClass& slots : plan.classes)
    slot_room += slots.slot_bytes() * (std::min(kFewSlots, slots.n_experts) - 1);
  slot_room = std::max(slots_at_least, std::min(slot_room, bytes / kFewSlotsShare));
  uint64_t room = bytes - fixed;  // for dense weights, the ring and the slots
  const std::vector<bool> none_stays(inventory.dense.size(), false);
  const uint64_t least_ring = smallest_ring(inventory.dense, none_stays, block_bytes);
  slot_room = std::min(slot_room, std::max(slots_at_least, room - least_ring));
  give_slots(plan, slot_room);
  room -= plan.slot_bytes;
  const uint64_t ring = std::min(room, least_ring + kRingAhead);
  choose_streamed(plan, inventory, dense - std::min(dense, room - ring), block_bytes);
  for (size_t i = 0; i < plan.stays.size(); ++i)
    if (plan.stays[i]) plan.kept_bytes += kept_bytes(inventory.dense[i], block_bytes);
  plan.ring_bytes = std::max(smallest_ring(inventory.dense, plan.stays, block_bytes), room - plan.kept_bytes);
  return plan;
}

StorePlan plan_store(const StoreInventory& inventory, int64_t n_batch, uint64_t bytes, uint64_t prompt_bytes,
                     uint64_t block_bytes) {
  StorePlan plan = plan_store(inventory, n_batch, bytes, block_bytes);
  uint64_t all = 0;
  for (const SlotClass& slots : plan.classes) all += slots.slot_bytes() * slots.n_experts;
  if (all == 0) return plan;
  const double share = static_cast<double>(prompt_bytes) / static_cast<double>(all);
  for (SlotClass& slots : plan.classes) {
    slots.n_lent = std::min(static_cast<uint32_t>(share * slots.n_experts), slots.n_experts - slots.n_slots);
    slots.n_slots += slots.n_lent;
    plan.slot_bytes += slots.slot_bytes() * slots.n_lent;
  }
  return plan;
}

// Further slots of each class up to so many, in `bytes`, the same share of what is wanted. Returns what is left.
static uint64_t give_up_to(StorePlan& plan, std::span<const uint64_t> wanted, uint64_t bytes) {
  const auto lacking = [&](size_t c) { return wanted[c] - std::min<uint64_t>(wanted[c], plan.classes[c].n_slots); };
  uint64_t all = 0;
  for (size_t c = 0; c < plan.classes.size(); ++c) all += lacking(c) * plan.classes[c].slot_bytes();
  if (all == 0) return bytes;
  const double share = std::min(1.0, static_cast<double>(bytes) / static_cast<double>(all));
  for (const bool is_rest : {false, true}) {  // then what rounding has left
    std::vector<uint64_t> more(plan.classes.size());
    for (size_t c = 0; c < more.size(); ++c)
      more[c] = is_rest ? lacking(c) : static_cast<uint64_t>(share * static_cast<double>(lacking(c)));
    for (size_t c = 0; c < more.size(); ++c) {
      SlotClass& slots = plan.classes[c];
      const uint64_t n = std::min(more[c], bytes / slots.slot_bytes());
      slots.n_slots += static_cast<uint32_t>(n);
      plan.slot_bytes += n * slots.slot_bytes();
      bytes -= n * slots.slot_bytes();
    }
  }
  return bytes;
}

StorePlan plan_expert_store(const StoreInventory& inventory, std::span<const uint32_t> n_on_device, uint64_t bytes,
                            uint64_t block_bytes) {
  // As many as are copied back between two tokens at most.
  constexpr uint64_t kSpareSlots = 16;
  StorePlan plan = with_fixed_parts(inventory, 0, block_bytes);
  if (bytes < one_slot_each(plan))
    throw std::invalid_argument("A store of experts was given less memory than it can work in.");
  std::vector<uint64_t> wanted;
  for (SlotClass& slots : plan.classes) {
    wanted.push_back(slots.n_experts);
    slots.n_slots = 1;
    plan.slot_bytes += slots.slot_bytes();
  }
  bytes -= plan.slot_bytes;
  for (size_t layer = 0; layer < inventory.experts.size(); ++layer)
    if (inventory.experts[layer].n_experts > 0) wanted[plan.class_of_layer[layer]] -= n_on_device[layer];
  bytes = give_up_to(plan, wanted, bytes);
  for (size_t c = 0; c < wanted.size(); ++c)
    wanted[c] = std::min<uint64_t>(wanted[c] + kSpareSlots, plan.classes[c].n_experts);
  bytes = give_up_to(plan, wanted, bytes);
  for (size_t c = 0; c < wanted.size(); ++c) wanted[c] = plan.classes[c].n_experts;
  give_up_to(plan, wanted, bytes);
  return plan;
}

}  // namespace sluice::engine
