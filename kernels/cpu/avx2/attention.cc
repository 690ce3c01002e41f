// A tile of attention for AVX2 with FMA (Dao et al. 2022, FlashAttention; online softmax, arXiv 1805.02867).
//
// A piece of the context is made floats once and used by all query vectors of the tile:
//
//   scores [queries, positions]  = queries [queries, key_size] x keys [positions, key_size]^T    4 x 3 dot products a time
//   weights                      = exp(scale * scores - maximum), the maximum a running one
//   weighted [queries, columns] += weights [queries, positions] x values [positions, columns]     4 x 24 sums a time
//
// Twelve registers of sums hide the latency of a multiply-add and need seven loads for twelve of them. Other shapes of
// register tiles (3 x 4, 2 x 4, 1 x 8) serve what is left over. Each dot product has one accumulator of eight lanes and
// each sum one in the order of positions, whatever the shape, so a query's result does not depend on its neighbours.
//
// While a piece is computed with, the next one is called into the caches: a head's rows lie too far apart, and the
// pauses between pieces are too long, for the machine to do that by itself.
#if defined(__x86_64__)
#include "kernels/cpu/attention_tile.h"
#include "kernels/cpu/avx2/exponential.h"
#include "kernels/cpu/avx2/panel_product.h"
#include "kernels/cpu/avx2/row_operations.h"
#include "kernels/cpu/avx2/steps.h"

namespace sluice::kernels {
namespace {

// Rows of keys or values that will be wanted next.
struct Ahead {
  const char* row = nullptr;
  int64_t row_bytes = 0;
  int64_t bytes = 0;  // of a row, what is wanted
  int64_t n_rows = 0;

  inline __attribute__((always_inline)) void fetch_row() {
    if (n_rows <= 0) return;
    for (int64_t at = 0; at < bytes; at += 64) _mm_prefetch(row + at, _MM_HINT_T0);
    row += row_bytes;
    --n_rows;
  }
};

constexpr int64_t kWeightStride = kContextPiece + 16;  // scores of whole register tiles

struct Piece {
  int64_t key_stride, value_stride, row_values_stride;  // floats; the last of `values`
  float* keys;                                          // rows past the context are zeros
  float* values;
  float* weights;  // [n_queries, kWeightStride]: first the scores
  Ahead next_keys, next_values;
};

// Eight sums of eight lanes each, all added in the same order.
SLUICE_AVX2_STEP __m256 sum_each(const __m256* a) {
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

// Scores of Q queries with P positions at a time, up to the multiple of P that holds n_positions. A query has places
// for four (or eight) sums in the registers that are added up; what is written past P is overwritten or never read.
template <int Q, int P>
SLUICE_AVX2_STEP void score(const float* queries, Piece& piece, int64_t n_positions, float* scores) {
  constexpr int kPlaces = P > 4 ? 8 : 4;
  constexpr int kSums = (Q * kPlaces + 7) / 8 * 8;
  const int64_t stride = piece.key_stride;
  for (int64_t i = 0; i < n_positions; i += P) {
    const float* keys = piece.keys + i * stride;
    __m256 sums[kSums];
    for (int k = 0; k < kSums; ++k) sums[k] = _mm256_setzero_ps();
    for (int64_t c = 0; c < stride; c += 8) {
      __m256 key[P];
      for (int p = 0; p < P; ++p) key[p] = _mm256_load_ps(keys + p * stride + c);
      for (int q = 0; q < Q; ++q) {
        const __m256 query = _mm256_loadu_ps(queries + q * stride + c);
        for (int p = 0; p < P; ++p) sums[q * kPlaces + p] = _mm256_fmadd_ps(query, key[p], sums[q * kPlaces + p]);
      }
    }
    for (int p = 0; p < P; ++p) piece.next_keys.fetch_row();
    if constexpr (kPlaces == 8) {
      for (int q = 0; q < Q; ++q) _mm256_storeu_ps(scores + q * kWeightStride + i, sum_each(sums + 8 * q));
    } else {
      for (int q = 0; q < Q; q += 2) {
        const __m256 two = sum_each(sums + 4 * q);
        _mm_storeu_ps(scores + q * kWeightStride + i, _mm256_castps256_ps128(two));
        if (q + 1 < Q) _mm_storeu_ps(scores + (q + 1) * kWeightStride + i, _mm256_extractf128_ps(two, 1));
      }
    }
  }
}

// Scores to weights for one query that sees n_seen > 0 of n positions: later ones get weight 0.
void weigh(const AttentionTile& tile, const Piece& piece, int64_t q, int64_t n_seen, int64_t n) {
  float* weights = piece.weights + q * kWeightStride;
  const __m256 scale = _mm256_set1_ps(tile.scale);
  const __m256 nothing = _mm256_set1_ps(-__builtin_inff());
  __m256 largest = nothing;
  for (int64_t i = 0; i < n; i += 8) {
    const __m256i seen = avx2::first_lanes(n_seen - i);
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
  // 0 for the first piece, where `before` is -infinity.
  const float shrink = _mm256_cvtss_f32(avx2::exponential(_mm256_set1_ps(before - maximum)));
  tile.maxima[q] = maximum;
  tile.sums[q] = tile.sums[q] * shrink + avx2::add_lanes(sums);
  if (shrink == 1.0f) return;
  float* weighted = tile.weighted + q * piece.value_stride;
  for (int64_t c = 0; c < piece.value_stride; c += 8)
    _mm256_storeu_ps(weighted + c, _mm256_mul_ps(_mm256_loadu_ps(weighted + c), _mm256_set1_ps(shrink)));
}

// P positions and V registers of columns at a time.
template <int Q, int P, int V>
SLUICE_AVX2_STEP void attend_queries(const AttentionTile& tile, Piece& piece, int64_t first, int64_t at, int64_t n) {
  int64_t n_seen[Q], most = 0;
  for (int q = 0; q < Q; ++q) {
    n_seen[q] = avx2::smaller(n, tile.n_visible[first + q] - at);
    most = n_seen[q] > most ? n_seen[q] : most;
  }
  if (most <= 0) return;
  float* weights = piece.weights + first * kWeightStride;
  float* weighted = tile.weighted + first * piece.value_stride;
  score<Q, P>(tile.queries + first * piece.key_stride, piece, most, weights);
  for (int q = 0; q < Q; ++q) {
    if (n_seen[q] > 0)
      weigh(tile, piece, first + q, n_seen[q], (most + 7) / 8 * 8);
    else
      std::memset(weights + q * kWeightStride, 0, kWeightStride * sizeof(float));
  }
  const avx2::PanelProduct values{weights, kWeightStride,      piece.values, piece.row_values_stride,
                                  most,    piece.value_stride, weighted,     piece.value_stride};
  const auto fetch = [&](int64_t i) __attribute__((always_inline)) {
    if (i % 4 == 0) piece.next_values.fetch_row();
  };
  int64_t column = avx2::add_panel<Q, V>(values, 0, fetch);
  if constexpr (V > 2) column = avx2::add_panel<Q, 2>(values, column, fetch);
  avx2::add_panel<Q, 1>(values, column, fetch);
}

// Where the keys or the values of the tile's head lie.
struct Source {
  const KeysAndValues& context;
  const void* const* pages;
  int64_t head_begin;  // bytes into a page
  int64_t row_bytes;
  int64_t size;    // columns
  int64_t stride;  // floats, in a piece

  inline __attribute__((always_inline)) const char* position(int64_t at) const {
    return static_cast<const char*>(pages[at / context.page_positions]) + head_begin +
           at % context.page_positions * row_bytes;
  }
};

// n rows from position `at` as floats, the rest of the stride zeros.
void load_rows(const Source& source, int64_t at, int64_t n, float* to) {
  const char* row = source.position(at);
  for (int64_t i = 0; i < n; ++i, row += source.row_bytes, to += source.stride) {
    avx2::load_cache_row(source.context.type, row, source.size, to);
    if (source.size < source.stride)
      std::memset(to + source.size, 0, static_cast<size_t>(source.stride - source.size) * sizeof(float));
  }
}

Ahead rows_ahead(const Source& source, int64_t at, int64_t n) {
  int64_t bytes = source.size * 2;
  if (source.context.type == CacheType::F32) bytes = source.size * 4;
  if (source.context.type == CacheType::Q8_0) bytes = (source.size + 31) / 32 * 34;
  return {source.position(at), source.row_bytes, bytes, n};
}

}  // namespace

void attend_tile_avx2(const AttentionTile& tile) {
  const KeysAndValues& context = *tile.context;
  Piece piece;
  piece.key_stride = (tile.key_size + 15) / 16 * 16;  // tile_stride(), which other files share
  piece.value_stride = (tile.value_size + 15) / 16 * 16;
  const Source keys{context,       context.key_pages, tile.kv_head * context.key_head_bytes, context.key_row_bytes,
                    tile.key_size, piece.key_stride};
  const Source values{
      context,         context.value_pages, tile.kv_head * context.value_head_bytes, context.value_row_bytes,
      tile.value_size, piece.value_stride};
  const bool values_are_keys = keys.pages == values.pages && keys.head_begin == values.head_begin &&
                               values.stride <= keys.stride && tile.value_size % 16 == 0;
  piece.keys = tile.scratch;
  piece.values = piece.keys + (kContextPiece + 8) * piece.key_stride;
  piece.weights = piece.values + kContextPiece * piece.value_stride;
  piece.row_values_stride = piece.value_stride;
  if (values_are_keys) {
    piece.values = piece.keys;
    piece.row_values_stride = piece.key_stride;
  }
  for (int64_t q = 0; q < tile.n_queries; ++q) {
    tile.maxima[q] = -__builtin_inff();
    tile.sums[q] = 0;
  }
  std::memset(tile.weighted, 0, static_cast<size_t>(tile.n_queries * piece.value_stride) * sizeof(float));

  for (int64_t at = tile.begin; at < tile.end; at += kContextPiece) {
    const int64_t n = avx2::smaller(kContextPiece, tile.end - at),
                  n_next = avx2::smaller(kContextPiece, tile.end - at - n);
    load_rows(keys, at, n, piece.keys);
    if (at == tile.begin || n < kContextPiece)
      std::memset(piece.keys + n * piece.key_stride, 0, static_cast<size_t>(8 * piece.key_stride) * sizeof(float));
    if (!values_are_keys) load_rows(values, at, n, piece.values);
    if (n_next > 0) {
      piece.next_keys = rows_ahead(keys, at + n, n_next);
      if (!values_are_keys) piece.next_values = rows_ahead(values, at + n, n_next);
    }
    int64_t q = 0;
    for (; q + 4 <= tile.n_queries; q += 4) attend_queries<4, 3, 3>(tile, piece, q, at, n);
    switch (tile.n_queries - q) {
      case 3:
        attend_queries<3, 4, 4>(tile, piece, q, at, n);
        break;
      case 2:
        attend_queries<2, 4, 4>(tile, piece, q, at, n);
        break;
      case 1:
        attend_queries<1, 8, 8>(tile, piece, q, at, n);
        break;
    }
  }
}

}  // namespace sluice::kernels
#endif
