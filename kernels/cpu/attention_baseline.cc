// A tile of attention for any machine, one query after another.

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/attention_tile.h"
#include "kernels/cpu/vector_loops.h"
#include "kernels/reference/cache_rows.h"

namespace sluice::kernels {
namespace {

// n rows of a head from position `at`, as floats `stride` apart.
void load_piece(const KeysAndValues& context, const void* const* pages, int64_t head_begin, int64_t row_bytes,
                int64_t at, int64_t n, int64_t size, int64_t stride, float* to) {
  const auto* page = static_cast<const char*>(pages[at / context.page_positions]) + head_begin;
  for (int64_t i = 0; i < n; ++i)
    reference::load_cache_row(context.type, page + (at % context.page_positions + i) * row_bytes, size,
                              to + i * stride);
}

}  // namespace

void attend_tile_baseline(const AttentionTile& tile) {
  const VectorLoops& loops = vector_loops();
  const KeysAndValues& context = *tile.context;
  const int64_t key_stride = tile_stride(tile.key_size), value_stride = tile_stride(tile.value_size);
  float* keys = tile.scratch;
  float* values = keys + kContextPiece * key_stride;
  float* weights = values + kContextPiece * value_stride;
  std::fill_n(tile.maxima, tile.n_queries, -std::numeric_limits<float>::infinity());
  std::fill_n(tile.sums, tile.n_queries, 0.0f);
  std::fill_n(tile.weighted, tile.n_queries * value_stride, 0.0f);

  for (int64_t at = tile.begin; at < tile.end; at += kContextPiece) {
    const int64_t n = std::min(kContextPiece, tile.end - at);
    load_piece(context, context.key_pages, tile.kv_head * context.key_head_bytes, context.key_row_bytes, at, n,
               tile.key_size, key_stride, keys);
    load_piece(context, context.value_pages, tile.kv_head * context.value_head_bytes, context.value_row_bytes, at, n,
               tile.value_size, value_stride, values);
    for (int64_t q = 0; q < tile.n_queries; ++q) {
      const int64_t n_seen = std::min(n, tile.n_visible[q] - at);
      if (n_seen <= 0) continue;
      float maximum = tile.maxima[q];
      for (int64_t i = 0; i < n_seen; ++i) {
        weights[i] = tile.scale * loops.dot(keys + i * key_stride, tile.queries + q * key_stride, tile.key_size);
        maximum = std::max(maximum, weights[i]);
      }
      const float shrink = std::exp(tile.maxima[q] - maximum);  // exp(-inf) = 0 for the first piece
      float sum = tile.sums[q] * shrink;
      float* weighted = tile.weighted + q * value_stride;
      for (int64_t c = 0; c < tile.value_size; ++c) weighted[c] *= shrink;
      for (int64_t i = 0; i < n_seen; ++i) {
        const float weight = std::exp(weights[i] - maximum);
        sum += weight;
        loops.add_scaled(weight, values + i * value_stride, weighted, tile.value_size);
      }
      tile.maxima[q] = maximum;
      tile.sums[q] = sum;
    }
  }
}

}  // namespace sluice::kernels
