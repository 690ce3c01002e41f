// The operations on rows for any machine: the reference.

#include <algorithm>

#include "kernels/cpu/row_operations.h"
#include "kernels/cpu/vector_loops.h"
#include "kernels/reference/cache_rows.h"
#include "kernels/reference/rms_norm.h"
#include "kernels/reference/softmax.h"
#include "kernels/reference/swiglu.h"

namespace sluice::kernels {
namespace {

void rms_norm(const float* x, const float* weights, int64_t n, float epsilon, float* out) {
  reference::rms_norm(x, weights, 1, n, epsilon, out);
}

void rope(float* head, int64_t n_pairs, bool interleaved, const float* cosines, const float* sines) {
  const int64_t step = interleaved ? 2 : 1, partner = interleaved ? 1 : n_pairs;
  for (int64_t i = 0; i < n_pairs; ++i) {
    const float a = head[i * step], b = head[i * step + partner];
    head[i * step] = a * cosines[i] - b * sines[i];
    head[i * step + partner] = a * sines[i] + b * cosines[i];
  }
}

void swiglu(float* gate, const float* up, int64_t n) {
  reference::swiglu(gate, up, n, gate);
}

void add(const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

void weighted_sum(const float* const* rows, const float* weights, int64_t n_rows, int64_t n, float* out) {
  std::fill_n(out, n, 0.0f);
  for (int64_t k = 0; k < n_rows; ++k)
    for (int64_t i = 0; i < n; ++i) out[i] += weights[k] * rows[k][i];
}

void add_weighted_rows(const float* weights, int64_t weight_stride, int64_t n_queries, const float* rows,
                       int64_t row_stride, int64_t n_rows, int64_t n_columns, float* out, int64_t out_stride) {
  for (int64_t q = 0; q < n_queries; ++q)
    for (int64_t i = 0; i < n_rows; ++i)
      vector_loops().add_scaled(weights[q * weight_stride + i], rows + i * row_stride, out + q * out_stride, n_columns);
}

void sigmoid(const float* x, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = reference::sigmoid(x[i]);
}

}  // namespace

const RowOperations kRowOperationsBaseline = {reference::store_cache_row,
                                              reference::load_cache_row,
                                              reference::quantize_per32,
                                              reference::quantize_per256,
                                              rms_norm,
                                              rope,
                                              swiglu,
                                              add,
                                              weighted_sum,
                                              add_weighted_rows,
                                              sigmoid,
                                              reference::softmax};

}  // namespace sluice::kernels
