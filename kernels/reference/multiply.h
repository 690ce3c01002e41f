// Matrices of any tensor type times activations.
//
// All sums run in double over the columns in order and are rounded to float once, at the end. A product of a weight and
// a code of 8 bits is exact in double, so the result is the correctly rounded one but for a few parts in 10^16,
// whatever the order, and the distance between a fast kernel and this one is the fast kernel's own. Fast kernels are
// held to 1e-6 of the sum of the magnitudes of the terms.
//
// Weights are [n_rows, n_columns] with n_columns a whole number of blocks. Throws std::invalid_argument for a number of
// columns that is not, and for an activation form that is not the format's own (kernels/format.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "gguf/tensor_type.h"
#include "kernels/reference/activations.h"

namespace sluice::kernels::reference {

// out[m, n_rows] = activations[m, n_columns] * weights transposed, for activations
//   in f32:       out[j, r] = sum over i of w[r, i] * x[j, i]
//   in 8 bits:    out[j, r] = sum over the activation's blocks b of scale[j, b] * (sum over i in b of w[r, i] * q[j, i])
// Row j of 8-bit activations is the n_columns / 32 (/ 256) blocks from j * n_columns / 32 (/ 256) on. Any type can be
// multiplied by f32 activations.
void multiply(gguf::TensorType type, const std::byte* weights, int64_t n_rows, int64_t n_columns,
              const float* activations, int64_t m, float* out);
void multiply(gguf::TensorType type, const std::byte* weights, int64_t n_rows, int64_t n_columns,
              const Activation32* activations, int64_t m, float* out);
void multiply(gguf::TensorType type, const std::byte* weights, int64_t n_rows, int64_t n_columns,
              const Activation256* activations, int64_t m, float* out);

// out[n_columns] = x[n_rows] * weights: out[i] = sum over r of x[r] * w[r, i], row after row. The weights are used as
// they lie, which absorbs a product into a fused and quantised matrix without requantising it.
void multiply_transposed(gguf::TensorType type, const std::byte* weights, int64_t n_rows, int64_t n_columns,
                         const float* x, float* out);

}  // namespace sluice::kernels::reference
