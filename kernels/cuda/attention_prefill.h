// Attention of many positions of a sequence at once, on tensor cores (FlashAttention-2, arXiv 2307.08691): a thread block has the queries
// of some positions and of all heads that share a key head, and passes once over the keys and values that they see.
//
// The same result as attend() (attention.h) up to rounding: queries, keys, values and the weights of the softmax are rounded to 16 bits,
// sums are floats. A row's result depends on nothing but the row: not on the other rows of its run, nor on other runs.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention.h"

namespace sluice::kernels::cuda {

// Consecutive rows of one sequence: all have the pages of the first. They may see different numbers of positions. Device memory.
struct AttentionRun {
  int32_t first_row = 0;
  int32_t n_rows = 0;
};

struct PrefillCall {
  AttentionCall attention;        // most_pieces and scratch are not used
  bool values_are_keys = false;   // a latent cache: the values of a position are the first columns of its key
  bool pages_are_aligned = true;  // pages begin at multiples of 16 bytes
  const AttentionRun* runs = nullptr;
  int64_t n_runs = 0;
  int64_t most_rows = 0;  // of a run
};

// Is there a kernel for it? For caches of F16 and Q8_0 in pages of a multiple of 64 positions, with keys and values of up to 256 columns, or
// latent ones with up to 576 and 512. Elements of other caches would lose precision or range as 16-bit floats.
inline bool can_attend_prefill(CacheType type, int64_t page_positions, int64_t key_size, int64_t value_size,
                               bool values_are_keys) {
  if ((type != CacheType::F16 && type != CacheType::Q8_0) || page_positions <= 0 || page_positions % 64 != 0)
    return false;
  return (key_size <= 256 && value_size <= 256) ||
         (values_are_keys && key_size <= 576 && value_size <= 512 && value_size <= key_size);
}

// Throws std::invalid_argument where can_attend_prefill() says no. Rows that are in no run are left alone.
void attend_prefill(Launches& list, const PrefillCall& call);

}  // namespace sluice::kernels::cuda
