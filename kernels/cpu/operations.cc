#include "kernels/cpu/operations.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/router.h"
#include "kernels/cpu/row_operations.h"
#include "kernels/cpu/share_work.h"

namespace sluice::kernels {

// Calls task(row) for every row. bytes_a_value: what the operation reads and writes for a value of x, and for work that
// takes longer than the traffic as much more.
template <typename Task>
static void for_each_row(ThreadPool& pool, FloatRows x, int64_t bytes_a_value, const Task& task) {
  share_work(pool, x.n_rows, x.n_rows * x.n_columns * bytes_a_value, task);
}

void rms_norm(ThreadPool& pool, FloatRows x, const float* weights, int64_t n_weights, float epsilon, FloatRows out) {
  for_each_row(pool, x, 16, [&](int64_t i) {
    for (int64_t at = 0; at < x.n_columns; at += n_weights)
      row_operations().rms_norm(x.row(i) + at, weights, n_weights, epsilon, out.row(i) + at);
  });
}

void rope_angles(ThreadPool& pool, const reference::Rope& rope, const int32_t* positions, FloatRows cosines,
                 FloatRows sines) {
  for_each_row(pool, cosines, 10000,  // a power, a sine and a cosine in double
               [&](int64_t i) { reference::rope_angles(rope, positions[i], cosines.row(i), sines.row(i)); });
}

void rope(ThreadPool& pool, FloatRows x, int64_t n_heads, int64_t head_stride, reference::RopePairs pairs,
          FloatRows cosines, FloatRows sines) {
  const bool interleaved = pairs == reference::RopePairs::Interleaved;
  for_each_row(pool, x, 8, [&](int64_t row) {
    for (int64_t h = 0; h < n_heads; ++h)
      row_operations().rope(x.row(row) + h * head_stride, cosines.n_columns, interleaved, cosines.row(row),
                            sines.row(row));
  });
}

void swiglu(ThreadPool& pool, FloatRows gate, FloatRows up) {
  for_each_row(pool, gate, 40, [&](int64_t i) { row_operations().swiglu(gate.row(i), up.row(i), gate.n_columns); });
}

void add(ThreadPool& pool, FloatRows x, FloatRows y) {
  for_each_row(pool, x, 12, [&](int64_t i) { row_operations().add(y.row(i), x.row(i), x.n_columns); });
}

void copy_rows(ThreadPool& pool, FloatRows from, FloatRows to) {
  for_each_row(pool, from, 8, [&](int64_t i) { std::copy_n(from.row(i), from.n_columns, to.row(i)); });
}

void store_rows(ThreadPool& pool, FloatRows x, int64_t n_heads, CacheType type, void* to, int64_t row_bytes,
                int64_t head_bytes) {
  const int64_t head_columns = x.n_columns / n_heads;
  for_each_row(pool, x, 8, [&](int64_t i) {
    for (int64_t h = 0; h < n_heads; ++h)
      row_operations().store_cache_row(type, x.row(i) + h * head_columns, head_columns,
                                       static_cast<char*>(to) + h * head_bytes + i * row_bytes);
  });
}

void load_rows(ThreadPool& pool, CacheType type, const void* from, int64_t row_bytes, FloatRows x) {
  for_each_row(pool, x, 8, [&](int64_t i) {
    row_operations().load_cache_row(type, static_cast<const char*>(from) + i * row_bytes, x.n_columns, x.row(i));
  });
}

void route(ThreadPool& pool, const reference::RouterRule& rule, FloatRows logits, const float* bias, int32_t* ids,
           float* weights) {
  for_each_row(pool, logits, 200, [&](int64_t i) {
    route_row(rule, logits.row(i), bias, ids + i * rule.n_chosen, weights + i * rule.n_chosen);
  });
}

void weighted_sum(ThreadPool& pool, FloatRows y, const int32_t* places, const float* weights, int64_t n_chosen,
                  FloatRows out) {
  for_each_row(pool, out, 4 * (n_chosen + 1), [&](int64_t i) {
    std::vector<const float*> rows(static_cast<size_t>(n_chosen));
    for (int64_t k = 0; k < n_chosen; ++k) rows[static_cast<size_t>(k)] = y.row(places[i * n_chosen + k]);
    row_operations().weighted_sum(rows.data(), weights + i * n_chosen, n_chosen, out.n_columns, out.row(i));
  });
}

}  // namespace sluice::kernels
