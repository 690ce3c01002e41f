#include "kernels/cuda/attention_prefill.cuh"

#include "kernels/cuda/attention_prefill.h"
#include "kernels/cuda/launches.h"

namespace sluice::kernels::cuda {

namespace {

// Columns of keys and of values, tiles of 16 rows a warp, warps that have different rows, warps that share them, positions at a time. Two
// tiles of rows use each fragment of keys and values twice; where a head's sums leave no registers for that, one. Shared memory stays under
// the 64 KiB of sm_75.
using Heads64 = PrefillShape<64, 64, 2, 4, 1, 64, false>;
using Heads128 = PrefillShape<128, 128, 2, 4, 1, 32, false>;
using Heads192 = PrefillShape<192, 128, 1, 4, 1, 32, false>;  // expanded latent attention
using Heads256 = PrefillShape<256, 256, 1, 4, 1, 16, false>;
using Latent576 = PrefillShape<576, 512, 1, 2, 4, 16, true>;  // absorbed latent attention

CacheCopy copy_of(const PrefillCall& call) {
  const AttentionCall& a = call.attention;
  const bool heads_are_aligned = call.pages_are_aligned && a.key_head_bytes % 16 == 0 && a.value_head_bytes % 16 == 0;
  if (a.type == CacheType::Q8_0) {
    // Tiles have a multiple of 16 rows. Latent576 reads no values, and smaller latent caches have gaps between theirs.
    const bool has_gaps =
        a.key_row_bytes != cache_row_bytes(a.type, a.key_size) ||
        (a.value_row_bytes != cache_row_bytes(a.type, a.value_size) && a.key_size <= Heads256::kKeySize);
    return heads_are_aligned && !has_gaps ? CacheCopy::Blocks : CacheCopy::Q8_0;
  }
  const bool is_aligned = heads_are_aligned && a.key_size % 8 == 0 && a.value_size % 8 == 0 &&
                          a.key_row_bytes % 16 == 0 && a.value_row_bytes % 16 == 0;
  return is_aligned ? CacheCopy::Pieces : CacheCopy::Halves;
}

// A kernel that can take the call.
struct Choice {
  const void* kernel = nullptr;
  int64_t n_threads = 0, n_rows = 0, shared_bytes = 0;
};
template <class Shape>
bool offer(Choice& choice, const PrefillCall& call, CacheCopy copy) {
  const AttentionCall& a = call.attention;
  if (a.key_size > Shape::kKeySize || a.value_size > Shape::kValueSize) return false;
  static_assert(Shape::kSharedBytes + Shape::kBlockBytes <= 64 * 1024);
  static_assert(Shape::kRows == prefill_block_pairs(Shape::kKeySize, Shape::kValueSize));
  choice = {reinterpret_cast<const void*>(attend_tiles<Shape>), Shape::kThreads, Shape::kRows,
            Shape::kSharedBytes + (copy == CacheCopy::Blocks ? Shape::kBlockBytes : 0)};
  return true;
}
Choice choose(const PrefillCall& call, CacheCopy copy) {
  Choice choice;
  const AttentionCall& a = call.attention;
  if (!can_attend_prefill(a.type, a.page_positions, a.key_size, a.value_size, call.values_are_keys)) return choice;
  if (!offer<Heads64>(choice, call, copy) && !offer<Heads128>(choice, call, copy) &&
      !offer<Heads192>(choice, call, copy) && !offer<Heads256>(choice, call, copy))
    offer<Latent576>(choice, call, copy);
  return choice;
}

}  // namespace

void attend_prefill(Launches& list, const PrefillCall& call) {
  const AttentionCall& a = call.attention;
  require(a.n_kv_heads > 0 && a.n_heads > 0 && a.n_heads % a.n_kv_heads == 0,
          "Attention's key heads do not divide its query heads.");
  require(a.key_size > 0 && a.value_size > 0, "Attention needs keys and values of at least one column a head.");
  const CacheCopy copy = copy_of(call);
  const Choice choice = choose(call, copy);
  require(choice.kernel != nullptr,
          "Prefill attention takes caches of F16 and Q8_0 in pages of a multiple of 64 positions, and heads of at most "
          "256 columns or, in a "
          "latent cache, keys of 576 and values of 512.");
  require(a.key_row_bytes >= cache_row_bytes(a.type, a.key_size) &&
              a.value_row_bytes >= cache_row_bytes(a.type, a.value_size),
          "Rows of a cache overlap: there is too little from one to the next.");
  require(a.key_row_bytes % 2 == 0 && a.value_row_bytes % 2 == 0 && a.key_head_bytes % 2 == 0 &&
              a.value_head_bytes % 2 == 0,
          "Rows and heads of a cache must lie a multiple of their elements' size apart.");
  require(a.rows != nullptr && a.q != nullptr && a.out != nullptr && call.runs != nullptr,
          "Prefill attention needs its rows, runs, queries and output in device memory.");
  const int64_t heads_per_group = a.n_heads / a.n_kv_heads;
  require(call.most_rows >= 0 && call.most_rows * heads_per_group <= INT32_MAX,
          "Prefill attention takes at most 2147483647 rows times heads of a group in a run.");
  const bool is_split = call.most_pieces > 0;
  const int64_t most_pieces = is_split ? call.most_pieces : 1;
  require(!is_split || (a.scratch != nullptr && reinterpret_cast<uintptr_t>(a.scratch) % 32 == 0),
          "Attention that is split along the context needs scratch, at a multiple of 32 bytes.");
  require(is_split || a.forms.values == nullptr, "Only attention that is split makes forms of what it gives.");
  check_forms(a);
  const PrefillArguments arguments{a.rows,
                                   call.runs,
                                   a.q,
                                   a.out,
                                   is_split ? a.scratch : nullptr,
                                   a.q_stride,
                                   a.out_stride,
                                   a.key_head_bytes,
                                   a.value_head_bytes,
                                   static_cast<int32_t>(a.key_row_bytes),
                                   static_cast<int32_t>(a.value_row_bytes),
                                   static_cast<int32_t>(a.page_positions),
                                   static_cast<uint32_t>(most_pieces),
                                   static_cast<int32_t>(heads_per_group),
                                   static_cast<int32_t>(a.key_size),
                                   static_cast<int32_t>(a.value_size),
                                   static_cast<int32_t>(attention_piece_floats(a.value_size)),
                                   a.scale,
                                   copy};
  append_launch(list, "Attention", choice.kernel, "attend prefill",
                {divide_up(call.most_rows * heads_per_group, choice.n_rows), a.n_kv_heads, call.n_runs * most_pieces},
                choice.n_threads, choice.shared_bytes, arguments);
  if (is_split) join_runs(list, a, call.runs, call.n_runs, call.most_rows);
}

}  // namespace sluice::kernels::cuda
