// How much of a device's memory passes may take to which all experts come: what runs keep to, and plans.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace sluice::engine {

// Of the memory of experts on the device: what half of a ring takes at most, and what the ring and the pass may take together.
inline constexpr uint64_t kHalfRingShare = 32, kPassShare = 4;

// More than a layer's missed experts hides nothing: while the device is about a layer, only those of the next can come.
inline uint64_t half_ring_bytes(uint64_t slot_bytes, uint64_t largest_expert_bytes, uint64_t most_missed_bytes) {
  if (most_missed_bytes == 0) return 0;
  return std::max(largest_expert_bytes, std::min(slot_bytes / kHalfRingShare, most_missed_bytes));
}

// Slots of the host's memory through which experts come from the disk: enough for a disk that is busy, and half of the slots of their size at
// most. The others keep what they have.
inline constexpr int64_t kFetchSlots = 48;
inline int64_t fetch_slots(int64_t n_slots) {
  return std::min(kFetchSlots, (n_slots + 1) / 2);
}

// Passes are made room for in whole powers of two.
inline int64_t rounded_up(int64_t n) {
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(n)));
}

// Of a pass of n_rows rows, which need not be streamed from least_rows on: n_rows, or the largest power of two for which there is room.
template <class IsRoom>
int64_t rows_with_room(int64_t n_rows, int64_t least_rows, const IsRoom& is_room) {
  while (n_rows > least_rows && !is_room(n_rows)) n_rows = rounded_up(n_rows) / 2;
  return n_rows;
}

}  // namespace sluice::engine
