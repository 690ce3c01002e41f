// Sums of weighted rows: out[q, c] += sum over i, in order, of weights[q, i] * rows[i, c], for Q rows of weights and V
// registers of columns at a time. Static, as everything that files for AVX-512 share.
//
// A step of one row is V loads, Q broadcasts and Q * V multiply-adds; 4 x 4 keeps sixteen sums under way, which hides
// their latency. Each sum has one chain, so its bits do not depend on the shape.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace sluice::kernels::avx512 {

struct PanelProduct {
  const float* weights;   // [n_queries, n_rows]
  int64_t weight_stride;  // floats from one query's weights to the next
  const float* rows;      // [n_rows, n_columns], at any address
  int64_t row_stride;
  int64_t n_rows;
  int64_t n_columns;
  float* out;  // [n_queries, n_columns]
  int64_t out_stride;
};

// From `column` on, as long as there are 16 * V columns; returns the first that is left. Calls after_row(i) after each
// step.
template <int Q, int V, class AfterRow>
static inline __attribute__((always_inline)) int64_t add_panel(const PanelProduct& p, int64_t column,
                                                               const AfterRow& after_row) {
  for (; column + 16 * V <= p.n_columns; column += 16 * V) {
    float* out = p.out + column;
    __m512 sums[Q][V];
    for (int q = 0; q < Q; ++q)
      for (int v = 0; v < V; ++v) sums[q][v] = _mm512_loadu_ps(out + q * p.out_stride + 16 * v);
    const float* row = p.rows + column;
    for (int64_t i = 0; i < p.n_rows; ++i, row += p.row_stride) {
      __m512 values[V];
      for (int v = 0; v < V; ++v) values[v] = _mm512_loadu_ps(row + 16 * v);
      for (int q = 0; q < Q; ++q) {
        const __m512 weight = _mm512_set1_ps(p.weights[q * p.weight_stride + i]);
        for (int v = 0; v < V; ++v) sums[q][v] = _mm512_fmadd_ps(weight, values[v], sums[q][v]);
      }
      after_row(i);
    }
    for (int q = 0; q < Q; ++q)
      for (int v = 0; v < V; ++v) _mm512_storeu_ps(out + q * p.out_stride + 16 * v, sums[q][v]);
  }
  return column;
}

}  // namespace sluice::kernels::avx512
