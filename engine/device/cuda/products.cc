#include "engine/device/cuda/products.h"

#include <algorithm>
#include <optional>

#include "engine/device/cuda/input.h"
#include "engine/error.h"

namespace sluice::engine::cuda {

using kernels::cuda::Activations;
using kernels::cuda::MatrixProducts;
using kernels::cuda::TransposedProducts;

kernels::cuda::Matrix matrix_of(const Linear& weights) {
  if (!weights.adapters.empty()) throw Error(Error::Kind::Usage, "Adapters run on the CPU only; take --device cpu.");
  return {weights.type, weights.data, weights.n_outputs, weights.n_inputs, weights.row_bytes, weights.bias.data};
}

bool same_shape(const Linear& a, const Linear& b) {
  return a.type == b.type && a.n_outputs == b.n_outputs && a.n_inputs == b.n_inputs && !a.bias && !b.bias;
}

namespace {

// The rows of a product's input, if they are evenly spaced forwards: first, first + step, ...
struct EvenRows {
  int64_t first = 0;
  int64_t step = 1;
};

std::optional<EvenRows> even_rows(const int32_t* rows, int64_t n_rows) {
  if (rows == nullptr) return EvenRows{};
  const EvenRows even{rows[0], n_rows > 1 ? int64_t{rows[1]} - rows[0] : 1};
  if (even.step < 0) return std::nullopt;
  for (int64_t i = 1; i < n_rows; ++i)
    if (rows[i] != even.first + i * even.step) return std::nullopt;
  return even;
}

// The activations from row `first` on.
Activations rows_from(Activations x, int64_t first) {
  x.values += first * x.stride;
  x.n_rows -= first;
  if (x.per32.codes != nullptr) {
    x.per32.codes += first * x.n_columns;
    x.per32.scales += first * (x.n_columns / 32);
    x.per32.sums += first * (x.n_columns / 32);
  }
  if (x.per256.codes != nullptr) {
    x.per256.codes += first * x.n_columns;
    x.per256.scales += first * (x.n_columns / 256);
    x.per256.sums += first * (x.n_columns / 16);
  }
  return x;
}

// One input, and formats that one launch can multiply it by side by side.
bool are_together(std::span<const Product> products) {
  if (products.size() < 2 || products.size() > kernels::cuda::kMostTogether) return false;
  return std::ranges::all_of(products, [&](const Product& product) {
    return product.input == products[0].input && product.output.n_rows == 1 && product.input_rows == nullptr &&
           kernels::cuda::can_multiply_together(product.weights->type);
  });
}

}  // namespace

std::vector<MatrixProducts> grouped(std::span<const Product> products) {
  std::vector<MatrixProducts> groups;
  for (size_t begin = 0, end; begin < products.size(); begin = end) {
    const Product& first = products[begin];
    const Activations& x = static_cast<const CudaInput&>(*first.input).activations;
    const int64_t n_rows = first.output.n_rows;
    end = begin + 1;
    if (n_rows == 0) continue;
    const auto rows = even_rows(first.input_rows, n_rows);
    if (!rows) {
      for (int64_t i = 0; i < n_rows; ++i)
        groups.push_back({matrix_of(*first.weights),
                          1,
                          0,
                          rows_from(x, first.input_rows[i]),
                          1,
                          0,
                          1,
                          first.output.row(i),
                          0,
                          0,
                          false,
                          {}});
      continue;
    }
    int64_t matrix_stride = 0, output_stride = 0, row_step = 0;
    for (; end < products.size(); ++end) {
      const Product& next = products[end];
      if (next.input != first.input || next.output.n_rows != n_rows || next.output.stride != first.output.stride ||
          !same_shape(*first.weights, *next.weights))
        break;
      const auto next_rows = even_rows(next.input_rows, n_rows);
      if (!next_rows || next_rows->step != rows->step) break;
      const auto n = static_cast<int64_t>(end - begin);
      const int64_t matrix_distance = next.weights->data - first.weights->data;
      const int64_t output_distance = next.output.data - first.output.data;
      const int64_t row_distance = next_rows->first - rows->first;
      if (n == 1) {
        matrix_stride = matrix_distance;
        output_stride = output_distance;
        row_step = row_distance;
      }
      // Steps backwards would leave the activations that are handed over.
      if (matrix_distance != n * matrix_stride || output_distance != n * output_stride ||
          row_distance != n * row_step || row_step < 0)
        break;
    }
    groups.push_back({matrix_of(*first.weights),
                      static_cast<int64_t>(end - begin),
                      matrix_stride,
                      rows_from(x, rows->first),
                      n_rows,
                      row_step,
                      rows->step,
                      first.output.data,
                      output_stride,
                      first.output.stride,
                      false,
                      {}});
  }
  return groups;
}

void append_products(kernels::cuda::Launches& launches, std::span<const Product> products) {
  if (!are_together(products)) {
    for (const MatrixProducts& group : grouped(products)) kernels::cuda::multiply(launches, group);
    return;
  }
  std::vector<MatrixProducts> together;
  for (const Product& product : products) together.push_back(grouped(std::span(&product, 1)).front());
  kernels::cuda::multiply_together(launches, together);
}

std::vector<TransposedProducts> grouped(std::span<const TransposedProduct> products) {
  std::vector<TransposedProducts> groups;
  for (size_t begin = 0, end; begin < products.size(); begin = end) {
    const TransposedProduct& first = products[begin];
    int64_t matrix_stride = 0, input_stride = 0, output_stride = 0;
    for (end = begin + 1; end < products.size(); ++end) {
      const TransposedProduct& next = products[end];
      if (!same_shape(*first.weights, *next.weights) || next.input.n_rows != first.input.n_rows ||
          next.input.stride != first.input.stride || next.output.stride != first.output.stride)
        break;
      const auto n = static_cast<int64_t>(end - begin);
      const int64_t matrix_distance = next.weights->data - first.weights->data;
      const int64_t input_distance = next.input.data - first.input.data;
      const int64_t output_distance = next.output.data - first.output.data;
      if (n == 1) {
        matrix_stride = matrix_distance;
        input_stride = input_distance;
        output_stride = output_distance;
      }
      if (matrix_distance != n * matrix_stride || input_distance != n * input_stride ||
          output_distance != n * output_stride)
        break;
    }
    if (first.input.n_rows == 0) continue;
    groups.push_back({matrix_of(*first.weights),
                      static_cast<int64_t>(end - begin),
                      matrix_stride,
                      first.input.data,
                      first.input.n_rows,
                      input_stride,
                      first.input.stride,
                      first.output.data,
                      output_stride,
                      first.output.stride,
                      {}});
  }
  return groups;
}

void append_products(kernels::cuda::Launches& launches, std::span<const TransposedProduct> products) {
  for (const TransposedProducts& group : grouped(products)) kernels::cuda::multiply_transposed(launches, group);
}

}  // namespace sluice::engine::cuda
