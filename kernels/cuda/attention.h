// Decode attention over a paged cache, split along the context: one thread block for a piece of one row and some of its heads, and a
// second launch that joins the pieces (flash-decoding). Grouped heads share the keys they load; in absorbed MLA all query heads
// share one latent row of 576 values that is key and value both.
//
//   out[r, h] = sum over c < n_visible[r] of softmax_c(scale * q[r, h] . k[c, g]) * v[c, g]       (kernels/reference/attention.h)
//
// A piece is a page, so the sums do not depend on how many pieces a launch has room for.
#pragma once

#include <cstdint>

#include "kernels/cache_type.h"
#include "kernels/cuda/activations.h"
#include "kernels/cuda/launch.h"

namespace sluice::kernels::cuda {

// What differs from token to token; device memory. For a row that sees nothing, out is zeros.
struct AttentionRow {
  const void* const* key_pages = nullptr;    // device array of device pointers
  const void* const* value_pages = nullptr;  // the same pages as the keys in a latent cache
  int64_t n_visible = 0;
};

struct AttentionCall {
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t key_size = 0;    // of a head: any up to 576
  int64_t value_size = 0;  // of a head: any up to 512
  float scale = 1;
  CacheType type = CacheType::F16;
  int64_t page_positions = 0;  // at most 128
  // In a page the key of position i and head h lies at byte h * key_head_bytes + i * key_row_bytes.
  int64_t key_row_bytes = 0, value_row_bytes = 0;
  int64_t key_head_bytes = 0, value_head_bytes = 0;
  const AttentionRow* rows = nullptr;  // device memory, [n_rows]
  int64_t n_rows = 0;
  int64_t most_pieces = 0;   // pages that any row sees, at most
  const float* q = nullptr;  // [n_rows, n_heads * key_size]
  int64_t q_stride = 0;
  float* out = nullptr;  // [n_rows, n_heads * value_size]
  int64_t out_stride = 0;
  float* scratch = nullptr;  // attention_scratch_floats() of them (attention_join.h)
  // Forms of what is made, of n_rows rows or of a row for each head (no gaps in `out` then); null values: none.
  Activations forms;
  int32_t* not_finite = nullptr;
};
void attend(Launches& list, const AttentionCall& call);

}  // namespace sluice::kernels::cuda
