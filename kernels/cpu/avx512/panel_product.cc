// A panel of weighted rows for any number of queries and columns.
#if defined(__x86_64__)
#include "kernels/cpu/avx512/panel_product.h"

#include "kernels/cpu/avx512/row_operations.h"
#include "kernels/cpu/avx512/steps.h"

namespace sluice::kernels::avx512 {
namespace {

template <int Q, int V>
SLUICE_AVX512_STEP void add_queries(const PanelProduct& p) {
  const auto nothing = [](int64_t) __attribute__((always_inline)){};
  int64_t column = add_panel<Q, V>(p, 0, nothing);
  column = add_panel<Q, 1>(p, column, nothing);
  if (column == p.n_columns) return;
  const __mmask16 rest = first_lanes(p.n_columns - column);
  for (int q = 0; q < Q; ++q) {
    float* out = p.out + q * p.out_stride + column;
    __m512 sum = _mm512_maskz_loadu_ps(rest, out);
    for (int64_t i = 0; i < p.n_rows; ++i)
      sum = _mm512_fmadd_ps(_mm512_set1_ps(p.weights[q * p.weight_stride + i]),
                            _mm512_maskz_loadu_ps(rest, p.rows + i * p.row_stride + column), sum);
    _mm512_mask_storeu_ps(out, rest, sum);
  }
}

}  // namespace

void add_weighted_rows(const float* weights, int64_t weight_stride, int64_t n_queries, const float* rows,
                       int64_t row_stride, int64_t n_rows, int64_t n_columns, float* out, int64_t out_stride) {
  PanelProduct p{weights, weight_stride, rows, row_stride, n_rows, n_columns, out, out_stride};
  int64_t q = 0;
  const auto advance = [&](int64_t n) {
    q += n;
    p.weights += n * weight_stride;
    p.out += n * out_stride;
  };
  for (; q + 4 <= n_queries; advance(4)) add_queries<4, 4>(p);
  for (; q + 2 <= n_queries; advance(2)) add_queries<2, 8>(p);
  for (; q < n_queries; advance(1)) add_queries<1, 8>(p);
}

}  // namespace sluice::kernels::avx512
#endif
