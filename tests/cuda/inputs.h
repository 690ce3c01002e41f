// Inputs of products on the device, with their forms, beside the reference's.
#pragma once

#include "gguf/tensor_type.h"
#include "kernels/cuda/activations.h"
#include "kernels/cuda/multiply.h"
#include "kernels/reference/activations.h"
#include "tests/cuda/device.h"

namespace sluice::test {

// [n_rows, n_columns] values, quantised by the kernel. Where the reference refuses values the kernel says so instead.
class Inputs {
 public:
  Inputs(std::vector<float> values, int64_t n_columns);

  const kernels::cuda::Activations& activations() const { return activations_; }
  int64_t n_rows() const { return activations_.n_rows; }
  const float* row(int64_t i) const { return values_.data() + i * activations_.n_columns; }

 private:
  std::vector<float> values_;
  OnDevice<float> on_device_;
  OnDevice<std::byte> forms_;
  kernels::cuda::Activations activations_;
};

// One output of a product with the input that the type reads, as kernels/reference has it, and the sum of the magnitudes of the
// terms.
struct Product {
  double value = 0, magnitude = 0;
};
// weights: the dequantised row, of the type.
Product reference_product(gguf::TensorType type, const std::vector<float>& weights, const float* input);

// The same of many rows, with the input rounded once.
std::vector<Product> reference_products(gguf::TensorType type, const std::vector<std::vector<float>>& rows,
                                        const float* input);

// Dequantised rows of a matrix.
std::vector<std::vector<float>> dequantised_rows(gguf::TensorType type, const std::byte* blocks, int64_t n_rows,
                                                 int64_t n_columns);

// Products of n_matrices matrices, matrix_stride bytes apart, with n_each inputs each, which lie as [n_each, n_matrices] and their outputs as
// [n_each, n_matrices, rows]: as heads do, side by side in a row.
kernels::cuda::MatrixProducts products_side_by_side(const kernels::cuda::Matrix& matrix, int64_t n_matrices,
                                                    int64_t matrix_stride, const Inputs& inputs, int64_t n_each,
                                                    const OnDevice<float>& output);

}  // namespace sluice::test
