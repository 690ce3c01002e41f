// What the VRAM tier has done since it was made.
#pragma once

#include <algorithm>
#include <cstdint>

namespace sluice::engine {

struct VramStatistics {
  uint64_t n_experts = 0;  // of the model
  uint64_t n_slots = 0;    // now
  uint64_t slot_bytes = 0;
  // Chosen (row, expert) pairs, of passes of few rows.
  uint64_t n_hits = 0, n_misses = 0;
  uint64_t n_read_from_host = 0;  // neither: the device multiplied them where the host has them
  uint64_t n_promotions = 0;      // experts that came after the first
  uint64_t promoted_bytes = 0;
  uint64_t n_failed_copies = 0;
  uint64_t n_copied_back = 0;  // experts that went to the host's memory when they gave up their slot
  uint64_t copied_back_bytes = 0;
  uint64_t n_slots_given_back = 0, n_slots_taken_back = 0;
  double copy_seconds = 0;
  // Passes in which experts came through a ring; the ring's bytes now.
  uint64_t n_streamed_passes = 0, n_streamed = 0, streamed_bytes = 0, ring_bytes = 0;

  uint64_t n_chosen() const { return n_hits + n_misses + n_read_from_host; }
  double hit_rate() const { return n_chosen() > 0 ? static_cast<double>(n_hits) / static_cast<double>(n_chosen()) : 0; }
};

// Of two devices that have different layers and take turns in the same passes.
inline VramStatistics together(VramStatistics a, const VramStatistics& b) {
  a.n_experts += b.n_experts;
  a.n_slots += b.n_slots;
  a.slot_bytes += b.slot_bytes;
  a.n_hits += b.n_hits;
  a.n_misses += b.n_misses;
  a.n_read_from_host += b.n_read_from_host;
  a.n_promotions += b.n_promotions;
  a.promoted_bytes += b.promoted_bytes;
  a.n_failed_copies += b.n_failed_copies;
  a.n_copied_back += b.n_copied_back;
  a.copied_back_bytes += b.copied_back_bytes;
  a.n_slots_given_back += b.n_slots_given_back;
  a.n_slots_taken_back += b.n_slots_taken_back;
  a.copy_seconds += b.copy_seconds;
  a.n_streamed_passes = std::max(a.n_streamed_passes, b.n_streamed_passes);
  a.n_streamed += b.n_streamed;
  a.streamed_bytes += b.streamed_bytes;
  a.ring_bytes += b.ring_bytes;
  return a;
}

// Counts of what came after `begin`; sizes as they are now.
inline VramStatistics since(const VramStatistics& begin, VramStatistics now) {
  now.n_hits -= begin.n_hits;
  now.n_misses -= begin.n_misses;
  now.n_read_from_host -= begin.n_read_from_host;
  now.n_promotions -= begin.n_promotions;
  now.promoted_bytes -= begin.promoted_bytes;
  now.n_failed_copies -= begin.n_failed_copies;
  now.n_copied_back -= begin.n_copied_back;
  now.copied_back_bytes -= begin.copied_back_bytes;
  now.n_slots_given_back -= begin.n_slots_given_back;
  now.n_slots_taken_back -= begin.n_slots_taken_back;
  now.copy_seconds -= begin.copy_seconds;
  now.n_streamed_passes -= begin.n_streamed_passes;
  now.n_streamed -= begin.n_streamed;
  now.streamed_bytes -= begin.streamed_bytes;
  return now;
}

}  // namespace sluice::engine
