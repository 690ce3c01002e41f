// A tile of attention for AVX-512 (Dao et al. 2022, FlashAttention; online softmax, arXiv 1805.02867).
//
// A piece of the context is made floats once and used by all query vectors of the tile:
//
//   scores [queries, positions]  = queries [queries, key_size] x keys [positions, key_size]^T    16 dot products a time
//   weights                      = exp(scale * scores - maximum), the maximum a running one
//   weighted [queries, columns] += weights [queries, positions] x values [positions, columns]     4 x 64 sums a time
//
// Sixteen registers of sums hide the latency of a multiply-add and need eight loads for sixteen of them. Their sums over
// lanes come out of one transposition of all sixteen. Each dot product has one accumulator of sixteen lanes and each sum one
// in the order of positions, whatever the shape, so a query's result does not depend on its neighbours.
//
// While a piece is computed with, the next one is called into the caches: a head's rows lie too far apart, and the
// pauses between pieces are too long, for the machine to do that by itself.
#if defined(__x86_64__)
#include "kernels/cpu/attention_tile.h"
#include "kernels/cpu/avx512/exponential.h"
#include "kernels/cpu/avx512/panel_product.h"
#include "kernels/cpu/avx512/row_operations.h"
#include "kernels/cpu/avx512/steps.h"

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

constexpr int64_t kWeightStride = kContextPiece + 16;
constexpr int64_t kLanes = 16;
static_assert(kContextPiece % kLanes == 0);

struct Piece {
  int64_t key_stride, value_stride, row_values_stride;  // floats; the last of `values`
  float* keys;                                          // rows past the context are zeros, to a multiple of kLanes
  float* values;
  float* weights;  // [n_queries, kWeightStride]: first the scores
  Ahead next_keys, next_values;
};

// Sixteen sums of sixteen lanes each, all added in the same order. A step halves the lanes that a sum has left and so the
// registers: lanes i and i + 8 (4, 2, 1) of register k, and those of its partner, become one register.
SLUICE_AVX512_STEP __m512 sum_each(const __m512* a) {
  __m512 eight[8], four[4], two[2];
  for (int k = 0; k < 8; ++k)  // quarters 0 1 + 2 3 of a[k], then of a[k + 8]
    eight[k] = _mm512_add_ps(_mm512_shuffle_f32x4(a[k], a[k + 8], 0x44), _mm512_shuffle_f32x4(a[k], a[k + 8], 0xEE));
  for (int k = 0; k < 4; ++k)  // a quarter each of a[k], a[k + 4], a[k + 8], a[k + 12], in the order 0 8 4 12
    four[k] = _mm512_add_ps(_mm512_shuffle_f32x4(eight[k], eight[k + 4], 0x88),
                            _mm512_shuffle_f32x4(eight[k], eight[k + 4], 0xDD));
  for (int k = 0; k < 2; ++k)  // in each quarter: a sum of k, of k + 2, of k, of k + 2
    two[k] = _mm512_add_ps(_mm512_unpacklo_ps(four[k], four[k + 2]), _mm512_unpackhi_ps(four[k], four[k + 2]));
  const __m512 sums = _mm512_add_ps(_mm512_unpacklo_ps(two[0], two[1]), _mm512_unpackhi_ps(two[0], two[1]));
  // Quarters hold 0 to 3, 8 to 11, 4 to 7, 12 to 15.
  return _mm512_shuffle_f32x4(sums, sums, _MM_SHUFFLE(3, 1, 2, 0));
}

// Scores of Q queries with P positions at a time, up to the multiple of P that holds n_positions.
template <int Q, int P>
SLUICE_AVX512_STEP void score(const float* queries, Piece& piece, int64_t n_positions, float* scores) {
  static_assert(Q * P <= kLanes);
  const int64_t stride = piece.key_stride;
  for (int64_t i = 0; i < n_positions; i += P) {
    const float* keys = piece.keys + i * stride;
    __m512 sums[kLanes];
    for (int k = 0; k < kLanes; ++k) sums[k] = _mm512_setzero_ps();
    for (int64_t c = 0; c < stride; c += kLanes) {
      __m512 key[P];
      for (int p = 0; p < P; ++p) key[p] = _mm512_loadu_ps(keys + p * stride + c);
      for (int q = 0; q < Q; ++q) {
        const __m512 query = _mm512_loadu_ps(queries + q * stride + c);
        for (int p = 0; p < P; ++p) sums[q * P + p] = _mm512_fmadd_ps(query, key[p], sums[q * P + p]);
      }
    }
    for (int p = 0; p < P; ++p) piece.next_keys.fetch_row();
    const __m512 all = sum_each(sums);
    if constexpr (P == 16) {
      _mm512_storeu_ps(scores + i, all);
    } else {
      for (int q = 0; q < Q; ++q)
        _mm512_mask_storeu_ps(scores + q * kWeightStride + i - q * P, static_cast<__mmask16>(((1 << P) - 1) << (q * P)),
                              all);
    }
  }
}

// Scores to weights for one query that sees n_seen > 0 of n positions: later ones get weight 0. n is a multiple of kLanes.
void weigh(const AttentionTile& tile, const Piece& piece, int64_t q, int64_t n_seen, int64_t n) {
  float* weights = piece.weights + q * kWeightStride;
  const __m512 scale = _mm512_set1_ps(tile.scale);
  const __m512 nothing = _mm512_set1_ps(-__builtin_inff());
  __m512 largest = nothing;
  for (int64_t i = 0; i < n; i += kLanes) {
    const __mmask16 seen = n_seen > i ? avx512::first_lanes(n_seen - i) : static_cast<__mmask16>(0);
    const __m512 masked = _mm512_mask_mul_ps(nothing, seen, scale, _mm512_loadu_ps(weights + i));
    _mm512_storeu_ps(weights + i, masked);
    largest = _mm512_max_ps(largest, masked);
  }
  const float before = tile.maxima[q];
  const float maximum = _mm_cvtss_f32(_mm_max_ss(_mm_set_ss(before), _mm_set_ss(_mm512_reduce_max_ps(largest))));

  const __m512 maxima = _mm512_set1_ps(maximum);
  __m512 sums = _mm512_setzero_ps();
  for (int64_t i = 0; i < n; i += kLanes) {
    const __m512 weight = avx512::exponential(_mm512_sub_ps(_mm512_loadu_ps(weights + i), maxima));
    _mm512_storeu_ps(weights + i, weight);
    sums = _mm512_add_ps(sums, weight);
  }
  // 0 for the first piece, where `before` is -infinity.
  const float shrink = _mm512_cvtss_f32(avx512::exponential(_mm512_set1_ps(before - maximum)));
  tile.maxima[q] = maximum;
  tile.sums[q] = tile.sums[q] * shrink + _mm512_reduce_add_ps(sums);
  if (shrink == 1.0f) return;
  float* weighted = tile.weighted + q * piece.value_stride;
  for (int64_t c = 0; c < piece.value_stride; c += kLanes)
    _mm512_storeu_ps(weighted + c, _mm512_mul_ps(_mm512_loadu_ps(weighted + c), _mm512_set1_ps(shrink)));
}

// P positions and V registers of columns at a time.
template <int Q, int P, int V>
SLUICE_AVX512_STEP void attend_queries(const AttentionTile& tile, Piece& piece, int64_t first, int64_t at, int64_t n) {
  int64_t n_seen[Q], most = 0;
  for (int q = 0; q < Q; ++q) {
    n_seen[q] = avx512::smaller(n, tile.n_visible[first + q] - at);
    most = n_seen[q] > most ? n_seen[q] : most;
  }
  if (most <= 0) return;
  float* weights = piece.weights + first * kWeightStride;
  float* weighted = tile.weighted + first * piece.value_stride;
  score<Q, P>(tile.queries + first * piece.key_stride, piece, most, weights);
  for (int q = 0; q < Q; ++q) {
    if (n_seen[q] > 0)
      weigh(tile, piece, first + q, n_seen[q], (most + kLanes - 1) / kLanes * kLanes);
    else
      std::memset(weights + q * kWeightStride, 0, kWeightStride * sizeof(float));
  }
  const avx512::PanelProduct values{weights, kWeightStride,      piece.values, piece.row_values_stride,
                                    most,    piece.value_stride, weighted,     piece.value_stride};
  const auto fetch = [&](int64_t i) __attribute__((always_inline)) {
    if (i % 4 == 0) piece.next_values.fetch_row();
  };
  int64_t column = avx512::add_panel<Q, V>(values, 0, fetch);
  if constexpr (V > 2) column = avx512::add_panel<Q, 2>(values, column, fetch);
  avx512::add_panel<Q, 1>(values, column, fetch);
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
    avx512::load_cache_row(source.context.type, row, source.size, to);
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

void attend_tile_avx512(const AttentionTile& tile) {
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
  piece.values = piece.keys + kContextPiece * piece.key_stride;
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
    const int64_t n = avx512::smaller(kContextPiece, tile.end - at),
                  n_next = avx512::smaller(kContextPiece, tile.end - at - n);
    load_rows(keys, at, n, piece.keys);
    const int64_t n_filled = (n + kLanes - 1) / kLanes * kLanes;
    std::memset(piece.keys + n * piece.key_stride, 0,
                static_cast<size_t>((n_filled - n) * piece.key_stride) * sizeof(float));
    if (!values_are_keys) load_rows(values, at, n, piece.values);
    if (n_next > 0) {
      piece.next_keys = rows_ahead(keys, at + n, n_next);
      if (!values_are_keys) piece.next_values = rows_ahead(values, at + n, n_next);
    }
    int64_t q = 0;
    for (; q + 4 <= tile.n_queries; q += 4) attend_queries<4, 4, 4>(tile, piece, q, at, n);
    switch (tile.n_queries - q) {
      case 3:
        attend_queries<3, 4, 4>(tile, piece, q, at, n);
        break;
      case 2:
        attend_queries<2, 8, 8>(tile, piece, q, at, n);
        break;
      case 1:
        attend_queries<1, 16, 8>(tile, piece, q, at, n);
        break;
    }
  }
}

}  // namespace sluice::kernels
#endif
