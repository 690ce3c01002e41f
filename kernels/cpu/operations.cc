#include "kernels/cpu/operations.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/vector_loops.h"
#include "kernels/reference/rms_norm.h"

namespace sluice::kernels {

// Calls task(row) for every row: on the calling thread when the whole is too little to be worth waking another.
template <typename Task>
static void for_each_row(ThreadPool& pool, FloatRows x, const Task& task) {
  constexpr int64_t kWorthSharing = 16 * 1024;  // values, some microseconds of work
  if (x.n_rows * x.n_columns < kWorthSharing)
    for (int64_t i = 0; i < x.n_rows; ++i) task(i);
  else
    pool.run(x.n_rows, task);
}

void rms_norm(ThreadPool& pool, FloatRows x, const float* weights, int64_t n_weights, float epsilon, FloatRows out) {
  for_each_row(pool, x, [&](int64_t i) {
    for (int64_t at = 0; at < x.n_columns; at += n_weights)
      reference::rms_norm(x.row(i) + at, weights, 1, n_weights, epsilon, out.row(i) + at);
  });
}

void rope_angles(ThreadPool& pool, const reference::Rope& rope, const int32_t* positions, FloatRows cosines,
                 FloatRows sines) {
  pool.run(cosines.n_rows,
           [&](int64_t i) { reference::rope_angles(rope, positions[i], cosines.row(i), sines.row(i)); });
}

void rope(ThreadPool& pool, FloatRows x, int64_t n_heads, int64_t head_stride, reference::RopePairs pairs,
          FloatRows cosines, FloatRows sines) {
  const int64_t n_pairs = cosines.n_columns;
  const bool interleaved = pairs == reference::RopePairs::Interleaved;
  const int64_t step = interleaved ? 2 : 1, partner = interleaved ? 1 : n_pairs;
  for_each_row(pool, x, [&](int64_t row) {
    const float* cosine = cosines.row(row);
    const float* sine = sines.row(row);
    for (int64_t h = 0; h < n_heads; ++h) {
      float* head = x.row(row) + h * head_stride;
      for (int64_t i = 0; i < n_pairs; ++i) {
        const float a = head[i * step], b = head[i * step + partner];
        head[i * step] = a * cosine[i] - b * sine[i];
        head[i * step + partner] = a * sine[i] + b * cosine[i];
      }
    }
  });
}

void swiglu(ThreadPool& pool, FloatRows gate, FloatRows up) {
  for_each_row(pool, gate, [&](int64_t i) {
    float* g = gate.row(i);
    const float* u = up.row(i);
    for (int64_t c = 0; c < gate.n_columns; ++c) g[c] = g[c] / (1.0f + std::exp(-g[c])) * u[c];
  });
}

void add(ThreadPool& pool, FloatRows x, FloatRows y) {
  for_each_row(pool, x, [&](int64_t i) {
    float* to = x.row(i);
    const float* from = y.row(i);
    for (int64_t c = 0; c < x.n_columns; ++c) to[c] += from[c];
  });
}

void copy_rows(ThreadPool& pool, FloatRows from, FloatRows to) {
  for_each_row(pool, from, [&](int64_t i) { std::copy_n(from.row(i), from.n_columns, to.row(i)); });
}

void store_rows(ThreadPool& pool, FloatRows x, void* to, bool half, int64_t to_stride) {
  for_each_row(pool, x, [&](int64_t i) {
    if (half)
      vector_loops().float_to_half(x.row(i), static_cast<uint16_t*>(to) + i * to_stride, x.n_columns);
    else
      std::copy_n(x.row(i), x.n_columns, static_cast<float*>(to) + i * to_stride);
  });
}

void load_rows(ThreadPool& pool, const void* from, bool half, int64_t from_stride, FloatRows x) {
  for_each_row(pool, x, [&](int64_t i) {
    if (half)
      vector_loops().half_to_float(static_cast<const uint16_t*>(from) + i * from_stride, x.row(i), x.n_columns);
    else
      std::copy_n(static_cast<const float*>(from) + i * from_stride, x.n_columns, x.row(i));
  });
}

void route(ThreadPool& pool, const reference::RouterRule& rule, FloatRows logits, const float* bias, int32_t* ids,
           float* weights) {
  for_each_row(pool, logits, [&](int64_t i) {
    reference::route(rule, logits.row(i), bias, ids + i * rule.n_chosen, weights + i * rule.n_chosen);
  });
}

void weighted_sum(ThreadPool& pool, FloatRows y, const int32_t* places, const float* weights, int64_t n_chosen,
                  FloatRows out) {
  for_each_row(pool, out, [&](int64_t i) {
    std::fill_n(out.row(i), out.n_columns, 0.0f);
    for (int64_t k = 0; k < n_chosen; ++k)
      vector_loops().add_scaled(weights[i * n_chosen + k], y.row(places[i * n_chosen + k]), out.row(i), out.n_columns);
  });
}

}  // namespace sluice::kernels
