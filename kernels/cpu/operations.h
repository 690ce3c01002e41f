// The element-wise and row-wise operations of a forward pass, on the CPU. Formulas are those of kernels/reference.
#pragma once

#include <cstdint>

#include "kernels/cache_type.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/reference/rope.h"
#include "kernels/reference/router.h"

namespace sluice::kernels {

// [n_rows, n_columns] floats, rows `stride` floats apart.
struct FloatRows {
  float* data = nullptr;
  int64_t n_rows = 0;
  int64_t n_columns = 0;
  int64_t stride = 0;

  float* row(int64_t i) const { return data + i * stride; }
};

// Each row in groups of n_weights columns, normed apart. out may be x.
void rms_norm(ThreadPool& pool, FloatRows x, const float* weights, int64_t n_weights, float epsilon, FloatRows out);

// cosines and sines [n_rows, n_dims / 2]
void rope_angles(ThreadPool& pool, const reference::Rope& rope, const int32_t* positions, FloatRows cosines,
                 FloatRows sines);
void rope(ThreadPool& pool, FloatRows x, int64_t n_heads, int64_t head_stride, reference::RopePairs pairs,
          FloatRows cosines, FloatRows sines);

void swiglu(ThreadPool& pool, FloatRows gate, FloatRows up);  // gate = silu(gate) * up
void add(ThreadPool& pool, FloatRows x, FloatRows y);         // x += y
void copy_rows(ThreadPool& pool, FloatRows from, FloatRows to);

// To rows of a KV cache (kernels/cache_type.h): the columns of x are those of n_heads heads side by side, and head h of
// row i goes to byte h * head_bytes + i * row_bytes.
void store_rows(ThreadPool& pool, FloatRows x, int64_t n_heads, CacheType type, void* to, int64_t row_bytes,
                int64_t head_bytes);
// And back, for one head.
void load_rows(ThreadPool& pool, CacheType type, const void* from, int64_t row_bytes, FloatRows x);

// Each row of logits to n_chosen ids and weights.
void route(ThreadPool& pool, const reference::RouterRule& rule, FloatRows logits, const float* bias, int32_t* ids,
           float* weights);

// out[i] = sum over k in order of weights[i * n_chosen + k] * y[places[i * n_chosen + k]]
void weighted_sum(ThreadPool& pool, FloatRows y, const int32_t* places, const float* weights, int64_t n_chosen,
                  FloatRows out);

}  // namespace sluice::kernels
