#include "kernels/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/vector_loops.h"

namespace sluice::kernels {
namespace {

// One query head of one row: running maximum, sum of exponentials and weighted sum of values, by which pieces of the
// context are merged (online softmax, arXiv 1805.02867).
void attend_head(const AttentionHeads& heads, const AttentionRow& row, int64_t head) {
  const VectorLoops& loops = vector_loops();
  const KeysAndValues& context = *row.context;
  const int64_t kv_head = head / (heads.n_heads / heads.n_kv_heads);
  const int64_t element_bytes = context.half ? 2 : 4;
  const float* query = row.query + head * heads.key_size;
  float* out = row.out + head * heads.value_size;
  std::fill_n(out, heads.value_size, 0.0f);
  float maximum = -std::numeric_limits<float>::infinity();
  float sum = 0;
  float scores[kContextPiece];

  for (int64_t at = 0; at < row.n_visible; at += kContextPiece) {
    const int64_t n = std::min(kContextPiece, row.n_visible - at);
    const int64_t in_page = at % context.page_positions;
    const auto page = static_cast<size_t>(at / context.page_positions);
    const auto* keys = static_cast<const char*>(context.key_pages[page]) +
                       (in_page * context.key_stride + kv_head * context.key_head_stride) * element_bytes;
    const auto* values = static_cast<const char*>(context.value_pages[page]) +
                         (in_page * context.value_stride + kv_head * context.value_head_stride) * element_bytes;

    float piece_maximum = maximum;
    for (int64_t i = 0; i < n; ++i) {
      const char* key = keys + i * context.key_stride * element_bytes;
      const float product = context.half ? loops.dot_half(reinterpret_cast<const uint16_t*>(key), query, heads.key_size)
                                         : loops.dot(reinterpret_cast<const float*>(key), query, heads.key_size);
      scores[i] = product * heads.scale;
      piece_maximum = std::max(piece_maximum, scores[i]);
    }
    if (piece_maximum > maximum) {
      const float shrink = std::exp(maximum - piece_maximum);  // exp(-inf) = 0 for the first piece
      sum *= shrink;
      for (int64_t c = 0; c < heads.value_size; ++c) out[c] *= shrink;
      maximum = piece_maximum;
    }
    for (int64_t i = 0; i < n; ++i) {
      const float weight = std::exp(scores[i] - maximum);
      sum += weight;
      const char* value = values + i * context.value_stride * element_bytes;
      if (context.half)
        loops.add_scaled_half(weight, reinterpret_cast<const uint16_t*>(value), out, heads.value_size);
      else
        loops.add_scaled(weight, reinterpret_cast<const float*>(value), out, heads.value_size);
    }
  }
  const float inverse = 1.0f / sum;
  for (int64_t c = 0; c < heads.value_size; ++c) out[c] *= inverse;
}

}  // namespace

void attend(ThreadPool& pool, const AttentionHeads& heads, const AttentionRow* rows, int64_t n_rows) {
  pool.run(n_rows * heads.n_heads,
           [&](int64_t task) { attend_head(heads, rows[task / heads.n_heads], task % heads.n_heads); });
}

}  // namespace sluice::kernels
