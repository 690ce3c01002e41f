// The operations on rows for AVX-512, where they are defined.
#pragma once

#include "kernels/cpu/row_operations.h"

namespace sluice::kernels::avx512 {

// cache_rows.cc
void store_cache_row(CacheType type, const float* values, int64_t n_columns, void* row);
void load_cache_row(CacheType type, const void* row, int64_t n_columns, float* values);

// activations.cc
bool quantize_per32(const float* values, int64_t n_values, reference::Activation32* blocks);
bool quantize_per256(const float* values, int64_t n_values, reference::Activation256* blocks);

// row_operations.cc
void rms_norm(const float* x, const float* weights, int64_t n, float epsilon, float* out);
void rope(float* head, int64_t n_pairs, bool interleaved, const float* cosines, const float* sines);
void swiglu(float* gate, const float* up, int64_t n);
void add(const float* x, float* y, int64_t n);
void weighted_sum(const float* const* rows, const float* weights, int64_t n_rows, int64_t n, float* out);
void sigmoid(const float* x, int64_t n, float* out);
void softmax(const float* x, int64_t n, float* out);

// panel_product.cc
void add_weighted_rows(const float* weights, int64_t weight_stride, int64_t n_queries, const float* rows,
                       int64_t row_stride, int64_t n_rows, int64_t n_columns, float* out, int64_t out_stride);

}  // namespace sluice::kernels::avx512
