// Small operations on rows of floats in device memory.
#pragma once

#include <cstdint>

#include "kernels/cache_type.h"
#include "kernels/cuda/launch.h"
#include "kernels/reference/rope.h"

namespace sluice::kernels::cuda {

// [n_rows, n_columns], row i at data + i * stride.
struct FloatRows {
  float* data = nullptr;
  int64_t n_rows = 0;
  int64_t n_columns = 0;
  int64_t stride = 0;  // floats
};

// to = from; x += y
void copy_rows(Launches& list, const FloatRows& from, const FloatRows& to);
void add_rows(Launches& list, const FloatRows& x, const FloatRows& y);
// gate = silu(gate) * up
void swiglu(Launches& list, const FloatRows& gate, const FloatRows& up);
// out = x / sqrt(mean(x^2) + epsilon) * weight, for each group of weight_size columns of a row; may be in place.
void rms_norm(Launches& list, const FloatRows& x, const float* weight, int64_t weight_size, float epsilon,
              const FloatRows& out);

// Turns the first values of each of n_heads heads, head_stride columns apart, by the row's angles: cosines and sines [n_rows, n_dims / 2].
void rope(Launches& list, const FloatRows& x, int64_t n_heads, int64_t head_stride, reference::RopePairs pairs,
          const FloatRows& cosines, const FloatRows& sines);

// Rows of a cache (kernels/reference/cache_rows.h, bit for bit). Head h of row i of x goes to byte h * head_bytes + i * row_bytes from the address in
// *to, a word of device memory; and back, for one head, from *from.
void store_cache_rows(Launches& list, const FloatRows& x, int64_t n_heads, CacheType type, void* const* to,
                      int64_t row_bytes, int64_t head_bytes);
void load_cache_rows(Launches& list, CacheType type, const void* const* from, int64_t row_bytes, const FloatRows& x);

// out row i = sum over k, in order, of weights[i, k] * y row places[i, k]; both in device memory, [n_rows, n_used].
void weighted_sum(Launches& list, const FloatRows& y, const int32_t* places, const float* weights, int64_t n_used,
                  const FloatRows& out);

}  // namespace sluice::kernels::cuda
