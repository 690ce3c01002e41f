// Which rows of a pass the GPU attends for together, on tensor cores (kernels/cuda/attention_prefill.h), of which of these it splits the
// context, and which it attends for one by one, page by page (kernels/cuda/attention.h).
//
// It is the sequence that decides, by the number of its rows and nothing else of the pass: so a sequence has the same results whoever
// shares the pass. How long the context is makes no difference, because all ways take time in proportion to it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/device/device.h"
#include "kernels/cuda/attention_prefill.h"

namespace sluice::engine {

// Row by row every pair of a row and a head costs (key + value columns) / 16 cycles of an SM for a position, at a quarter of its float lanes.
// Together, 32 pairs of a thread block, which has room for 32 to 128 and pays for all, cost (key + value columns) / 8 at the rate of a GeForce's
// tensor cores, and half to a quarter of that on other cards. Split along the context, few thread blocks find as many SMs as many do.
//
// The heads of a latent cache share one row of it, so those of a single row fill thread blocks: R1's 128 cost a sixteenth of what they do one by
// one. The fewer heads, the emptier the thread block that they pay for.
//
// Of other models few heads share keys, and queries, weights and 8-bit keys and values become 16-bit floats on tensor cores: what a few rows would
// gain there is less, and they keep their float sums. Many rows of a model of many heads cost less together; a model of few heads comes
// there late, but from some rows on the memory for what single rows found in each page counts for more.
inline constexpr int64_t kFewestLatentHeads = 8;
// A single row's.
inline bool heads_attend_together(int64_t n_heads, int64_t n_kv_heads, bool is_latent) {
  return is_latent && n_heads / n_kv_heads >= kFewestLatentHeads;
}
inline bool attends_together(int64_t n_rows, int64_t n_heads) {
  return n_rows * n_heads >= 768 || n_rows >= 64;
}

struct AttentionRange {
  int64_t first_row = 0;
  int64_t n_rows = 0;
};
struct AttentionParts {
  std::vector<AttentionRange> split;       // each of one sequence, together, the context in pieces
  std::vector<AttentionRange> whole;       // each of one sequence, together
  std::vector<AttentionRange> one_by_one;  // each of neighbouring sequences

  // Is it all one call, which may make forms of what it gives?
  bool is_one_call() const { return whole.empty() && (split.empty() ? one_by_one.size() == 1 : one_by_one.empty()); }
};

inline int64_t pieces_of(const AttentionShape& shape, int64_t n_rows) {
  return kernels::cuda::prefill_pieces(n_rows, shape.n_heads, shape.n_kv_heads, shape.key_size, shape.value_size);
}

// caches: of every row; rows of a sequence are neighbours and have the same one.
inline AttentionParts attention_parts(const AttentionShape& shape, std::span<const CacheView* const> caches) {
  AttentionParts parts;
  for (size_t first = 0, end = 0; first < caches.size(); first = end) {
    while (end < caches.size() && caches[end] == caches[first]) ++end;
    const CacheView& view = *caches[first];
    const AttentionRange range{static_cast<int64_t>(first), static_cast<int64_t>(end - first)};
    const bool is_latent = view.value_pages == view.key_pages;
    if ((heads_attend_together(shape.n_heads, shape.n_kv_heads, is_latent) ||
         attends_together(range.n_rows, shape.n_heads)) &&
        kernels::cuda::can_attend_prefill(view.type, view.page_positions, shape.key_size, shape.value_size,
                                          is_latent)) {
      (pieces_of(shape, range.n_rows) > 1 ? parts.split : parts.whole).push_back(range);
    } else if (!parts.one_by_one.empty() &&
               parts.one_by_one.back().first_row + parts.one_by_one.back().n_rows == range.first_row) {
      parts.one_by_one.back().n_rows += range.n_rows;
    } else {
      parts.one_by_one.push_back(range);
    }
  }
  return parts;
}

// For how many pages launches have room: twice as many as are there, or a few, so that they stay the same while the context grows.
inline int64_t pages_with_room(std::span<const int32_t> n_visible, int64_t page_positions) {
  int64_t n_pages = 4;
  for (const int32_t n : n_visible)
    while (n_pages * page_positions < n) n_pages *= 2;
  return n_pages;
}

// The runs of ranges that are split. There are no more pieces than pages, so room for as many as there is for pages cuts nothing short.
inline std::vector<kernels::cuda::AttentionRun> split_runs(const AttentionShape& shape,
                                                           std::span<const AttentionRange> ranges, int64_t n_pages) {
  std::vector<kernels::cuda::AttentionRun> runs;
  int64_t first_piece = 0;
  for (const AttentionRange& range : ranges) {
    const int64_t n_pieces = std::min(n_pages, pieces_of(shape, range.n_rows));
    runs.push_back({static_cast<int32_t>(range.first_row), static_cast<int32_t>(range.n_rows),
                    static_cast<int32_t>(n_pieces), static_cast<int32_t>(first_piece)});
    first_piece += range.n_rows * shape.n_heads * n_pieces;
  }
  return runs;
}

// Scratch of a call that attends so.
inline uint64_t split_scratch_bytes(const AttentionShape& shape, std::span<const kernels::cuda::AttentionRun> runs) {
  int64_t floats = 0;
  for (const kernels::cuda::AttentionRun& run : runs)
    floats += kernels::cuda::attention_scratch_floats(run.n_rows, shape.n_heads, shape.value_size, run.n_pieces);
  return static_cast<uint64_t>(floats) * sizeof(float);
}
inline uint64_t one_by_one_scratch_bytes(const AttentionShape& shape, const AttentionRange& range, int64_t n_pages) {
  return static_cast<uint64_t>(
             kernels::cuda::attention_scratch_floats(range.n_rows, shape.n_heads, shape.value_size, n_pages)) *
         sizeof(float);
}

}  // namespace sluice::engine
