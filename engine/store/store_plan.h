// How a store divides its memory: what is read for every token first, then experts.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/store/dense_parts.h"

namespace sluice::engine {

// Slots of equal size: three parts, each with room for its matrix wherever in a block it begins.
struct SlotClass {
  std::array<uint64_t, 3> part_bytes{};
  uint32_t n_slots = 0;
  uint32_t n_lent = 0;     // of these, whose memory goes to the passes of prompts for as long as there are any
  uint32_t n_experts = 0;  // that live in it

  uint64_t slot_bytes() const { return part_bytes[0] + part_bytes[1] + part_bytes[2]; }
};

struct StorePlan {
  uint64_t small_bytes = 0;      // norms, routers
  uint64_t embedding_bytes = 0;  // rows of the embedding table that a batch looks up
  uint64_t kept_bytes = 0;       // dense parts that stay
  uint64_t ring_bytes = 0;       // through which the others pass
  uint64_t slot_bytes = 0;       // of all slots
  std::vector<bool> stays;       // of each dense part
  std::vector<SlotClass> classes;
  std::vector<uint32_t> class_of_layer;  // of layers with experts

  uint64_t bytes() const { return small_bytes + embedding_bytes + kept_bytes + ring_bytes + slot_bytes; }
};

// Of a store of so many bytes: into pieces of how many bytes the output is cut, which pass through the ring one by one. Large enough
// for the disk and all threads, smaller where memory is tight.
uint64_t output_piece_bytes(uint64_t store_bytes);

// Bytes that the parts of the inventory take in memory, rounded to blocks.
uint64_t dense_bytes(const StoreInventory& inventory, uint64_t block_bytes);
// The same when all stay, with the forms that they are to take.
uint64_t kept_dense_bytes(const StoreInventory& inventory, uint64_t block_bytes);
// Do all dense parts stay in a store of so many bytes?
bool all_dense_stays(const StoreInventory& inventory, int64_t n_batch, uint64_t bytes, uint64_t block_bytes);
// The least memory that a store can work in.
uint64_t least_store_bytes(const StoreInventory& inventory, int64_t n_batch, uint64_t block_bytes);

// The division of `bytes`, at least least_store_bytes(). n_batch: rows of a pass at most. A dense weight is read for every token,
// an expert seldom more often, so dense parts come first, and as many as fit stay; those that do not are spread over the
// pass, so that there is always something to multiply while they are read. What is left is slots.
StorePlan plan_store(const StoreInventory& inventory, int64_t n_batch, uint64_t bytes, uint64_t block_bytes);
// The same division with further slots in `prompt_bytes`, memory that passes of prompts need and tokens do not: it is lent to them.
StorePlan plan_store(const StoreInventory& inventory, int64_t n_batch, uint64_t bytes, uint64_t prompt_bytes,
                     uint64_t block_bytes);

// Slots in `bytes` for experts alone, of which a device holds some: n_on_device, of each layer. First one for each that it does not hold,
// then some in which experts can come back from it, then for copies of what it holds. Throws std::invalid_argument when `bytes` has no room for one slot
// of each class.
StorePlan plan_expert_store(const StoreInventory& inventory, std::span<const uint32_t> n_on_device, uint64_t bytes,
                            uint64_t block_bytes);

}  // namespace sluice::engine
