// Products of quantised matrices with rows of activations, on the CPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "gguf/tensor_type.h"
#include "kernels/cpu/activations.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/resident.h"

namespace sluice::kernels {

// [n_rows, n_columns] in blocks of a GGUF type, rows row_bytes apart, at any address; or in a resident form of the type,
// 64-byte aligned.
struct Matrix {
  gguf::TensorType type = gguf::TensorType::F32;
  const std::byte* data = nullptr;
  int64_t n_rows = 0;
  int64_t n_columns = 0;
  uint64_t row_bytes = 0;
  const ResidentForm* form = nullptr;  // data is groups of this form, and row_bytes means nothing
};

// out[i, r] = sum_c x[input_rows[i], c] * W[r, c], for i in [0, n_inputs). input_rows null: x row i.
struct MatrixProduct {
  Matrix weights;
  const Activations* x = nullptr;
  const int32_t* input_rows = nullptr;
  int64_t n_inputs = 0;
  float* out = nullptr;
  int64_t out_stride = 0;

  int64_t input_row(int64_t i) const { return input_rows != nullptr ? input_rows[i] : i; }
};

// All products in one parallel pass, split by weight rows. The sum of a row has one fixed order, so the result depends
// neither on the number of threads nor on how many rows are multiplied together. Returns false when an activation is
// not finite.
bool multiply(ThreadPool& pool, std::span<const MatrixProduct> products);

// out[i, c] = sum_r x[i, r] * W[r, c], in row order.
struct TransposedMatrixProduct {
  Matrix weights;
  const float* x = nullptr;
  int64_t x_stride = 0;
  int64_t n_inputs = 0;
  float* out = nullptr;
  int64_t out_stride = 0;
};
void multiply_transposed(ThreadPool& pool, std::span<const TransposedMatrixProduct> products);

// Row `index` of the matrix as floats.
void dequantize_row(const Matrix& matrix, int64_t index, float* values);

}  // namespace sluice::kernels
