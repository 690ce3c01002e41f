// Which rows of a pass the GPU attends for together, on tensor cores (kernels/cuda/attention_prefill.h), and which one by one, split along the
// context (kernels/cuda/attention.h).
//
// It is the sequence that decides, by the number of its rows and nothing else of the pass: so a sequence has the same results whoever
// shares the pass. How long the context is makes no difference, because both ways take time in proportion to it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/device/device.h"
#include "kernels/cuda/attention_prefill.h"

namespace sluice::engine {

// Row by row every pair of a row and a head costs (key + value columns) / 16 cycles of an SM for a position, at a quarter of its float lanes, and
// all SMs share the work. Together, up to a hundred pairs cost as much as one block of them, (key + value columns) / 4 at half of the tensor
// cores' rate and more while an SM has a single block, and there are few blocks. With some 128 SMs these meet near 700 pairs. A model
// of few heads comes there late; from some rows on the memory for what single rows found in each page counts for more.
inline bool attends_together(int64_t n_rows, int64_t n_heads) {
  return n_rows * n_heads >= 768 || n_rows >= 64;
}

struct AttentionRange {
  int64_t first_row = 0;
  int64_t n_rows = 0;
};
struct AttentionParts {
  std::vector<AttentionRange> together;    // each of one sequence
  std::vector<AttentionRange> one_by_one;  // each of neighbouring sequences
};
// caches: of every row; rows of a sequence are neighbours and have the same one.
inline AttentionParts attention_parts(const AttentionShape& shape, std::span<const CacheView* const> caches) {
  AttentionParts parts;
  for (size_t first = 0, end = 0; first < caches.size(); first = end) {
    while (end < caches.size() && caches[end] == caches[first]) ++end;
    const CacheView& view = *caches[first];
    const AttentionRange range{static_cast<int64_t>(first), static_cast<int64_t>(end - first)};
    if (attends_together(range.n_rows, shape.n_heads) &&
        kernels::cuda::can_attend_prefill(view.type, view.page_positions, shape.key_size, shape.value_size,
                                          view.value_pages == view.key_pages)) {
      parts.together.push_back(range);
    } else if (!parts.one_by_one.empty() &&
               parts.one_by_one.back().first_row + parts.one_by_one.back().n_rows == range.first_row) {
      parts.one_by_one.back().n_rows += range.n_rows;
    } else {
      parts.one_by_one.push_back(range);
    }
  }
  return parts;
}

}  // namespace sluice::engine
