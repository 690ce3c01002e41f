// A tile of attention for AVX2 with FMA (Dao et al. 2022, FlashAttention; online softmax, arXiv 1805.02867).
//
// A piece of the context is made floats once and used by all query vectors of the tile:
//
//   scores [queries, positions]  = queries [queries, key_size] x keys [positions, key_size]^T    4 x 2 dot products a time
//   weights                      = exp(scale * scores - maximum), the maximum a running one
//   weighted [queries, columns] += weights [queries, positions] x values [positions, columns]     4 x 16 sums a time
//
// Other shapes of register tiles (2 x 4, 1 x 8) serve what is left over. Each dot product has one accumulator of eight
// lanes and each sum one in the order of positions, whatever the shape, so a query's result does not depend on its
// neighbours.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/attention_tile.h"
#include "kernels/cpu/avx2/exponential.h"
#include "kernels/cpu/avx2/row_operations.h"

namespace sluice::kernels {
namespace {

#define SLUICE_INLINE inline __attribute__((always_inline))

// What stays the same for all pieces of a tile.
struct Piece {
  int64_t key_stride, value_stride, row_values_stride;  // floats; the last of `values`
  float* keys;
  float* values;
  float* weights;  // [n_queries, kContextPiece]: first the scores
};

SLUICE_INLINE int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}

// Eight sums of eight lanes each, all added in the same order.
SLUICE_INLINE __m256 sum_each(const __m256* a) {
  const __m256 s01 = _mm256_add_ps(_mm256_unpacklo_ps(a[0], a[1]), _mm256_unpackhi_ps(a[0], a[1]));
  const __m256 s23 = _mm256_add_ps(_mm256_unpacklo_ps(a[2], a[3]), _mm256_unpackhi_ps(a[2], a[3]));
  const __m256 s45 = _mm256_add_ps(_mm256_unpacklo_ps(a[4], a[5]), _mm256_unpackhi_ps(a[4], a[5]));
  const __m256 s67 = _mm256_add_ps(_mm256_unpacklo_ps(a[6], a[7]), _mm256_unpackhi_ps(a[6], a[7]));
  const auto join = [](__m256 x, __m256 y) __attribute__((always_inline)) {
    const __m256d low = _mm256_unpacklo_pd(_mm256_castps_pd(x), _mm256_castps_pd(y));
    const __m256d high = _mm256_unpackhi_pd(_mm256_castps_pd(x), _mm256_castps_pd(y));
    return _mm256_add_ps(_mm256_castpd_ps(low), _mm256_castpd_ps(high));
  };
  const __m256 s0123 = join(s01, s23), s4567 = join(s45, s67);
  return _mm256_add_ps(_mm256_permute2f128_ps(s0123, s4567, 0x20), _mm256_permute2f128_ps(s0123, s4567, 0x31));
}

// Scores of Q queries (1, 2 or 4) with 8 / Q positions at a time. n_positions is a multiple of 8; rows past the context
// are zeros.
template <int Q>
SLUICE_INLINE void score(const float* queries, const Piece& piece, int64_t n_positions, float* scores) {
  constexpr int P = 8 / Q;
  const int64_t stride = piece.key_stride;
  for (int64_t i = 0; i < n_positions; i += P) {
    const float* keys = piece.keys + i * stride;
    __m256 sums[8];
    for (int k = 0; k < 8; ++k) sums[k] = _mm256_setzero_ps();
    for (int64_t c = 0; c < stride; c += 8) {
      __m256 key[P];
      for (int p = 0; p < P; ++p) key[p] = _mm256_load_ps(keys + p * stride + c);
      for (int q = 0; q < Q; ++q) {
        const __m256 query = _mm256_loadu_ps(queries + q * stride + c);
        for (int p = 0; p < P; ++p) sums[q * P + p] = _mm256_fmadd_ps(query, key[p], sums[q * P + p]);
      }
    }
    float all[8];
    _mm256_storeu_ps(all, sum_each(sums));
    for (int q = 0; q < Q; ++q) std::memcpy(scores + q * kContextPiece + i, all + q * P, P * sizeof(float));
  }
}

// Adds the weighted values of n positions to Q queries, Q * V = 8 registers of sums at a time.
template <int Q, int V>
SLUICE_INLINE int64_t add_values(const float* weights, const Piece& piece, int64_t n, int64_t column, float* weighted) {
  for (; column + 8 * V <= piece.value_stride; column += 8 * V) {
    __m256 sums[Q][V];
    for (int q = 0; q < Q; ++q)
      for (int v = 0; v < V; ++v) sums[q][v] = _mm256_loadu_ps(weighted + q * piece.value_stride + column + 8 * v);
    const float* values = piece.values + column;
    for (int64_t i = 0; i < n; ++i, values += piece.row_values_stride) {
      __m256 value[V];
      for (int v = 0; v < V; ++v) value[v] = _mm256_load_ps(values + 8 * v);
      for (int q = 0; q < Q; ++q) {
        const __m256 weight = _mm256_broadcast_ss(weights + q * kContextPiece + i);
        for (int v = 0; v < V; ++v) sums[q][v] = _mm256_fmadd_ps(weight, value[v], sums[q][v]);
      }
    }
    for (int q = 0; q < Q; ++q)
      for (int v = 0; v < V; ++v) _mm256_storeu_ps(weighted + q * piece.value_stride + column + 8 * v, sums[q][v]);
  }
  return column;
}

// Scores to weights for one query that sees n_seen > 0 of n positions: later ones get weight 0.
void weigh(const AttentionTile& tile, const Piece& piece, int64_t q, int64_t n_seen, int64_t n) {
  float* weights = piece.weights + q * kContextPiece;
  const __m256 scale = _mm256_set1_ps(tile.scale);
  const __m256 nothing = _mm256_set1_ps(-__builtin_inff());
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  __m256 largest = nothing;
  for (int64_t i = 0; i < n; i += 8) {
    const __m256i seen = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n_seen - i)), lanes);
    const __m256 scaled = _mm256_mul_ps(scale, _mm256_loadu_ps(weights + i));
    const __m256 masked = _mm256_blendv_ps(nothing, scaled, _mm256_castsi256_ps(seen));
    _mm256_storeu_ps(weights + i, masked);
    largest = _mm256_max_ps(largest, masked);
  }
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(largest), _mm256_extractf128_ps(largest, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  four = _mm_max_ss(four, _mm_movehdup_ps(four));
  const float before = tile.maxima[q];
  const float maximum = _mm_cvtss_f32(_mm_max_ss(_mm_set_ss(before), four));

  const __m256 maxima = _mm256_set1_ps(maximum);
  __m256 sums = _mm256_setzero_ps();
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 weight = avx2::exponential(_mm256_sub_ps(_mm256_loadu_ps(weights + i), maxima));
    _mm256_storeu_ps(weights + i, weight);
    sums = _mm256_add_ps(sums, weight);
  }
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  sum = _mm_add_ss(sum, _mm_movehdup_ps(sum));

  // 0 for the first piece, where `before` is -infinity.
  const float shrink = _mm256_cvtss_f32(avx2::exponential(_mm256_set1_ps(before - maximum)));
  tile.maxima[q] = maximum;
  tile.sums[q] = tile.sums[q] * shrink + _mm_cvtss_f32(sum);
  if (shrink == 1.0f) return;
  float* weighted = tile.weighted + q * piece.value_stride;
  for (int64_t c = 0; c < piece.value_stride; c += 8)
    _mm256_storeu_ps(weighted + c, _mm256_mul_ps(_mm256_loadu_ps(weighted + c), _mm256_set1_ps(shrink)));
}

template <int Q>
SLUICE_INLINE void attend_queries(const AttentionTile& tile, const Piece& piece, int64_t first, int64_t at, int64_t n) {
  int64_t n_seen[Q], most = 0;
  for (int q = 0; q < Q; ++q) {
    n_seen[q] = least(n, tile.n_visible[first + q] - at);
    most = n_seen[q] > most ? n_seen[q] : most;
  }
  if (most <= 0) return;
  const int64_t in_vectors = (n + 7) / 8 * 8;
  float* weights = piece.weights + first * kContextPiece;
  float* weighted = tile.weighted + first * piece.value_stride;
  score<Q>(tile.queries + first * piece.key_stride, piece, in_vectors, weights);
  for (int q = 0; q < Q; ++q) {
    if (n_seen[q] > 0)
      weigh(tile, piece, first + q, n_seen[q], in_vectors);
    else
      std::memset(weights + q * kContextPiece, 0, kContextPiece * sizeof(float));
  }
  const int64_t done = add_values<Q, 8 / Q>(weights, piece, most, 0, weighted);
  add_values<Q, 2>(weights, piece, most, done, weighted);
}

// n rows from position `at`: columns [first, first + size) as floats, the rest of the stride zeros.
void load_rows(const KeysAndValues& context, const void* const* pages, int64_t row_bytes, int64_t at, int64_t n,
               int64_t first, int64_t size, int64_t stride, float* to) {
  const char* row =
      static_cast<const char*>(pages[at / context.page_positions]) + at % context.page_positions * row_bytes;
  for (int64_t i = 0; i < n; ++i, row += row_bytes, to += stride) {
    avx2::load_cache_row(context.type, row, first, size, to);
    if (size < stride) std::memset(to + size, 0, static_cast<size_t>(stride - size) * sizeof(float));
  }
}

}  // namespace

void attend_tile_avx2(const AttentionTile& tile) {
  const KeysAndValues& context = *tile.context;
  Piece piece;
  piece.key_stride = (tile.key_size + 15) / 16 * 16;  // tile_stride(), which other files share
  piece.value_stride = (tile.value_size + 15) / 16 * 16;
  piece.keys = tile.scratch;
  const int64_t key_column = tile.kv_head * context.key_head_stride;
  const int64_t value_column = tile.kv_head * context.value_head_stride;
  const bool values_are_keys = context.key_pages == context.value_pages && key_column == value_column &&
                               piece.value_stride <= piece.key_stride && tile.value_size % 16 == 0;
  piece.values = values_are_keys ? piece.keys : piece.keys + kContextPiece * piece.key_stride;
  piece.row_values_stride = values_are_keys ? piece.key_stride : piece.value_stride;
  piece.weights = piece.keys + kContextPiece * (piece.key_stride + piece.value_stride);
  for (int64_t q = 0; q < tile.n_queries; ++q) {
    tile.maxima[q] = -__builtin_inff();
    tile.sums[q] = 0;
  }
  std::memset(tile.weighted, 0, static_cast<size_t>(tile.n_queries * piece.value_stride) * sizeof(float));

  for (int64_t at = tile.begin; at < tile.end; at += kContextPiece) {
    const int64_t n = least(kContextPiece, tile.end - at);
    load_rows(context, context.key_pages, context.key_row_bytes, at, n, key_column, tile.key_size, piece.key_stride,
              piece.keys);
    for (int64_t i = n; i % 8 != 0; ++i)
      std::memset(piece.keys + i * piece.key_stride, 0, static_cast<size_t>(piece.key_stride) * sizeof(float));
    if (!values_are_keys)
      load_rows(context, context.value_pages, context.value_row_bytes, at, n, value_column, tile.value_size,
                piece.value_stride, piece.values);
    int64_t q = 0;
    for (; q + 4 <= tile.n_queries; q += 4) attend_queries<4>(tile, piece, q, at, n);
    for (; q + 2 <= tile.n_queries; q += 2) attend_queries<2>(tile, piece, q, at, n);
    for (; q < tile.n_queries; ++q) attend_queries<1>(tile, piece, q, at, n);
  }
}

}  // namespace sluice::kernels
#endif
