// What stands between the products of an attention layer and attention itself, for all of them in one launch: norms of heads, rotation,
// the forms of what is multiplied once more, and rows of the cache.
#pragma once

#include <cstdint>

#include "kernels/cache_type.h"
#include "kernels/cuda/activations.h"
#include "kernels/cuda/rows.h"

namespace sluice::kernels::cuda {

inline constexpr int64_t kMostHeadColumns = 4096;
inline constexpr int kMostHeadParts = 3;

// Heads of `size` columns each, side by side in every row of x. What is done to them goes back to where they were, or, where there are
// `places`, to the cache alone.
struct HeadPart {
  FloatRows x;
  int64_t n_heads = 0;
  int64_t size = 0;             // at most kMostHeadColumns
  const float* norm = nullptr;  // of the first n_normed columns of a head; null: none
  int64_t n_normed = 0;
  int64_t turned_from = -1;       // the column from which a head is rotated; -1: it is not
  void* const* places = nullptr;  // device memory: where head 0 of each row goes
  CacheType type = CacheType::F16;
  int64_t head_bytes = 0;  // in the cache, from a head to the next
};

struct HeadsCall {
  HeadPart parts[kMostHeadParts];
  int n_parts = 0;
  // Of the first part, which then has one head; `values` are its x. Null values: none are made.
  Activations forms;
  int32_t* not_finite = nullptr;
  float epsilon = 0;
  reference::RopePairs pairs{};
  FloatRows cosines, sines;  // [n_rows, half of the rotated columns]
};
void finish_heads(Launches& list, const HeadsCall& call);

}  // namespace sluice::kernels::cuda
