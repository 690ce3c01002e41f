#include "tests/cuda/inputs.h"

#include <algorithm>
#include <cmath>

#include "kernels/format.h"
#include "kernels/reference/dequantize.h"

namespace sluice::test {

using namespace sluice::kernels;

Inputs::Inputs(std::vector<float> values, int64_t n_columns)
    : values_(std::move(values)),
      on_device_(values_),
      forms_(cuda::form_bytes(static_cast<int64_t>(values_.size()) / n_columns, n_columns)) {
  activations_.values = on_device_.data();
  activations_.stride = n_columns;
  activations_.n_columns = n_columns;
  activations_.n_rows = static_cast<int64_t>(values_.size()) / n_columns;
  cuda::place_forms(activations_, forms_.data());
  OnDevice<int32_t> not_finite(std::vector<int32_t>{0});
  cuda::Launches list;
  cuda::quantize(list, activations_, not_finite.data());
  run(list);
}

namespace {

// The input as the type's products see it.
std::vector<double> rounded(gguf::TensorType type, const float* input, size_t n) {
  const ActivationFormat activation = format_of(type).activation;
  std::vector<double> x(n);
  if (activation == ActivationFormat::Per32) {
    std::vector<reference::Activation32> blocks(n / 32);
    reference::quantize_per32(input, static_cast<int64_t>(n), blocks.data());
    for (size_t i = 0; i < n; ++i) x[i] = double{blocks[i / 32].scale} * blocks[i / 32].q[i % 32];
  } else if (activation == ActivationFormat::Per256) {
    std::vector<reference::Activation256> blocks(n / 256);
    reference::quantize_per256(input, static_cast<int64_t>(n), blocks.data());
    for (size_t i = 0; i < n; ++i) x[i] = double{blocks[i / 256].scale} * blocks[i / 256].q[i % 256];
  } else {
    std::copy_n(input, n, x.begin());
  }
  return x;
}

Product product_of(const std::vector<float>& weights, const std::vector<double>& x) {
  Product product;
  for (size_t i = 0; i < x.size(); ++i) {
    product.value += weights[i] * x[i];
    product.magnitude += std::abs(weights[i] * x[i]);
  }
  return product;
}

}  // namespace

Product reference_product(gguf::TensorType type, const std::vector<float>& weights, const float* input) {
  return product_of(weights, rounded(type, input, weights.size()));
}

std::vector<Product> reference_products(gguf::TensorType type, const std::vector<std::vector<float>>& rows,
                                        const float* input) {
  std::vector<Product> products;
  if (rows.empty()) return products;
  const std::vector<double> x = rounded(type, input, rows[0].size());
  for (const std::vector<float>& row : rows) products.push_back(product_of(row, x));
  return products;
}

std::vector<std::vector<float>> dequantised_rows(gguf::TensorType type, const std::byte* blocks, int64_t n_rows,
                                                 int64_t n_columns) {
  const gguf::TypeLayout& layout = gguf::type_layout(type);
  const int64_t row_bytes = n_columns / layout.block_values * layout.block_bytes;
  std::vector<std::vector<float>> rows(static_cast<size_t>(n_rows));
  for (auto& row : rows) {
    row.resize(static_cast<size_t>(n_columns));
    reference::dequantize(type, blocks, n_columns, row.data());
    blocks += row_bytes;
  }
  return rows;
}

kernels::cuda::MatrixProducts products_side_by_side(const kernels::cuda::Matrix& matrix, int64_t n_matrices,
                                                    int64_t matrix_stride, const Inputs& inputs, int64_t n_each,
                                                    const OnDevice<float>& output) {
  kernels::cuda::MatrixProducts products;
  products.matrix = matrix;
  products.n_matrices = n_matrices;
  products.matrix_stride = matrix_stride;
  products.input = inputs.activations();
  products.n_inputs_each = n_each;
  products.input_matrix_step = 1;
  products.input_row_step = n_matrices;
  products.output = output.data();
  products.output_matrix_stride = matrix.n_outputs;
  products.output_stride = n_matrices * matrix.n_outputs;
  return products;
}

}  // namespace sluice::test
