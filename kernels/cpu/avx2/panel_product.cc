// A panel of weighted rows for any number of queries and columns.
#if defined(__x86_64__)
#include "kernels/cpu/avx2/panel_product.h"

#include "kernels/cpu/avx2/row_operations.h"

namespace sluice::kernels::avx2 {
namespace {

template <int Q, int V>
inline __attribute__((always_inline)) void add_queries(const PanelProduct& p) {
  const auto nothing = [](int64_t) {};
  int64_t column = add_panel<Q, V>(p, 0, nothing);
  column = add_panel<Q, 1>(p, column, nothing);
  for (; column < p.n_columns; ++column)
    for (int q = 0; q < Q; ++q) {
      __m128 sum = _mm_load_ss(p.out + q * p.out_stride + column);
      for (int64_t i = 0; i < p.n_rows; ++i)
        sum = _mm_fmadd_ss(_mm_load_ss(p.weights + q * p.weight_stride + i),
                           _mm_load_ss(p.rows + i * p.row_stride + column), sum);
      _mm_store_ss(p.out + q * p.out_stride + column, sum);
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
  for (; q + 4 <= n_queries; advance(4)) add_queries<4, 3>(p);
  for (; q + 2 <= n_queries; advance(2)) add_queries<2, 4>(p);
  for (; q < n_queries; advance(1)) add_queries<1, 8>(p);
}

}  // namespace sluice::kernels::avx2
#endif
