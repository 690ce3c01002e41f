// What is done to one row at a time, for each instruction set: rotation, norms, gates, the 8-bit forms, cache rows.
// operations.h shares the rows out among threads. Formulas are those of kernels/reference.
//
// The baseline is the reference itself. Faster sets give the same bits except where it says how far they may be off;
// none depends on anything but its arguments.
#pragma once

#include <cstdint>

#include "kernels/cache_type.h"
#include "kernels/isa.h"
#include "kernels/reference/activations.h"

namespace sluice::kernels {

struct RowOperations {
  // Rows of a KV cache (kernels/reference/cache_rows.h).
  void (*store_cache_row)(CacheType type, const float* values, int64_t n_columns, void* row);
  void (*load_cache_row)(CacheType type, const void* row, int64_t n_columns, float* values);

  // The 8-bit forms (kernels/reference/activations.h).
  bool (*quantize_per32)(const float* values, int64_t n_values, reference::Activation32* blocks);
  bool (*quantize_per256)(const float* values, int64_t n_values, reference::Activation256* blocks);

  // out = x / sqrt(mean(x^2) + epsilon) * weights; the sum of squares in double, in an order of its own. Within 2 units
  // in the last place. out may be x.
  void (*rms_norm)(const float* x, const float* weights, int64_t n, float epsilon, float* out);

  // Turns n_pairs pairs of one head: (head[2i], head[2i + 1]) when interleaved, else (head[i], head[i + n_pairs]).
  void (*rope)(float* head, int64_t n_pairs, bool interleaved, const float* cosines, const float* sines);

  // gate = silu(gate) * up. Within 4 units in the last place, and 1e-37 where silu is smaller than that.
  void (*swiglu)(float* gate, const float* up, int64_t n);

  // y += x
  void (*add)(const float* x, float* y, int64_t n);

  // out = sum over k, in order, of weights[k] * rows[k]
  void (*weighted_sum)(const float* const* rows, const float* weights, int64_t n_rows, int64_t n, float* out);

  // out[q, c] += sum over i, in order, of weights[q, i] * rows[i, c], for n_queries rows of weights and n_rows rows of
  // n_columns. Strides are floats. Each step of a sum rounds once or twice.
  void (*add_weighted_rows)(const float* weights, int64_t weight_stride, int64_t n_queries, const float* rows,
                            int64_t row_stride, int64_t n_rows, int64_t n_columns, float* out, int64_t out_stride);

  // Computed in double and rounded once, as the reference does: the router chooses by them. Within some 1e-15 in double,
  // so one result in a million may differ in its last bit.
  void (*sigmoid)(const float* x, int64_t n, float* out);
  void (*softmax)(const float* x, int64_t n, float* out);
};

// For the chosen instruction set (kernels/cpu/dispatch.h).
const RowOperations& row_operations();
// For a machine that runs at `most`.
RowOperations row_operations_at(Isa most);

// The compiled sets.
extern const RowOperations kRowOperationsBaseline;
#if defined(__x86_64__)
extern const RowOperations kRowOperationsAvx2, kRowOperationsAvx512;
#endif

}  // namespace sluice::kernels
