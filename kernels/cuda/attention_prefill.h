// Attention of many rows that share keys, on tensor cores (FlashAttention-2, arXiv 2307.08691): rows are pairs of a position and a query head,
// and a thread block has those of some positions of a sequence and of all heads that share a key head, and passes once over the keys and
// values that they see. The many rows are a prompt's positions, or the heads of a latent cache, which all share one row of it.
//
// Where a sequence has too few pairs to fill a GPU with thread blocks, its context is split: each thread block passes over a piece, and a second
// launch joins the pieces (attention_join.h).
//
// The same result as attend() (attention.h) up to rounding: queries, keys, values and the weights of the softmax are rounded to 16 bits,
// sums are floats. Unsplit, a row's result depends on nothing but the row: not on the other rows of its run, nor on other runs. Split it depends
// on how many rows its run has and how much the last of them sees as well, for these say where pieces begin; on other runs never.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/attention_join.h"

namespace sluice::kernels::cuda {

struct PrefillCall {
  AttentionCall attention;        // most_pieces is not used; scratch and forms only where it is split
  bool values_are_keys = false;   // a latent cache: the values of a position are the first columns of its key
  bool pages_are_aligned = true;  // pages begin at multiples of 16 bytes
  const AttentionRun* runs = nullptr;
  int64_t n_runs = 0;
  int64_t most_rows = 0;  // of a run
  // Not zero: attention is split, the run that is cut into most pieces has so many, and scratch has attention_scratch_floats() of every run.
  int64_t most_pieces = 0;
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

// Pairs of a row and a head that a thread block has.
constexpr int64_t prefill_block_pairs(int64_t key_size, int64_t value_size) {
  if (key_size <= 128 && value_size <= 128) return 128;
  return key_size <= 256 && value_size <= 256 ? 64 : 32;
}

// Into how many pieces to cut the context of a run: so many that its thread blocks fill the some 128 SMs of a large GPU, while joining them stays
// short of the launch itself. What a run leaves in scratch is then no more than 128 thread blocks do, some 9 MB, however long the context. It
// follows from the run's rows alone, so a sequence's results do not depend on who shares the pass.
inline constexpr int64_t kBlocksThatFill = 128, kMostPieces = 32;
constexpr int64_t prefill_pieces(int64_t n_rows, int64_t n_heads, int64_t n_kv_heads, int64_t key_size,
                                 int64_t value_size) {
  const int64_t pairs = n_rows * (n_heads / n_kv_heads), block_pairs = prefill_block_pairs(key_size, value_size);
  const int64_t n_blocks = std::max<int64_t>(1, (pairs + block_pairs - 1) / block_pairs * n_kv_heads);
  return std::clamp<int64_t>(kBlocksThatFill / n_blocks, 1, kMostPieces);
}

// Throws std::invalid_argument where can_attend_prefill() says no. Rows that are in no run are left alone.
void attend_prefill(Launches& list, const PrefillCall& call);

}  // namespace sluice::kernels::cuda
