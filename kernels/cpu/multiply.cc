#include "kernels/cpu/multiply.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/vector_loops.h"

namespace sluice::kernels {
namespace {

// Weight values that are dequantised at a time: small enough for the first-level cache, a multiple of every block.
constexpr int64_t kPiece = 2048;

// Weights a task takes at least, so that handing it out costs little beside the work (about 20 us of it).
constexpr int64_t kTaskWeights = 32 * 1024;

struct RowRange {
  const MatrixProduct* product;
  int64_t begin, end;
};

// The row as floats, piece by piece, times every input.
void multiply_dequantised(const MatrixProduct& product, const Format& format, int64_t row) {
  const VectorLoops& loops = vector_loops();
  const Matrix& w = product.weights;
  const std::byte* blocks = w.data + static_cast<uint64_t>(row) * w.row_bytes;
  for (int64_t i = 0; i < product.n_inputs; ++i) product.out[i * product.out_stride + row] = 0;
  alignas(64) float piece[kPiece];
  for (int64_t at = 0; at < w.n_columns; at += kPiece) {
    const int64_t n = std::min(kPiece, w.n_columns - at);
    const std::byte* from =
        blocks + static_cast<uint64_t>(at / format.layout->block_values) * format.layout->block_bytes;
    if (w.type == gguf::TensorType::F16)
      loops.half_to_float(reinterpret_cast<const uint16_t*>(from), piece, n);
    else
      format.dequantize(from, n, piece);
    for (int64_t i = 0; i < product.n_inputs; ++i)
      product.out[i * product.out_stride + row] +=
          loops.dot(piece, product.x->values(product.input_row(i), format.activation) + at, n);
  }
}

// The row as it lies in the file times the 8-bit form of every input.
void multiply_eight_bit(const MatrixProduct& product, const Format& format, RowProduct* row_product, int64_t row) {
  constexpr int64_t kInputs = 32;  // pointers gathered at a time
  const Matrix& w = product.weights;
  const std::byte* blocks = w.data + static_cast<uint64_t>(row) * w.row_bytes;
  for (int64_t first = 0; first < product.n_inputs; first += kInputs) {
    const int64_t n = std::min(kInputs, product.n_inputs - first);
    const void* inputs[kInputs];
    float out[kInputs];
    for (int64_t i = 0; i < n; ++i) inputs[i] = product.x->blocks(product.input_row(first + i), format.activation);
    row_product(blocks, w.n_columns, inputs, n, out);
    for (int64_t i = 0; i < n; ++i) product.out[(first + i) * product.out_stride + row] = out[i];
  }
}

// The function for rows of this product, or null where they are to be dequantised.
RowProduct* row_product_of(const MatrixProduct& product, const Format& format) {
  if (!product.x->is_eight_bit(format.activation)) return nullptr;
  return format.row_product[static_cast<size_t>(chosen_isa())];
}

}  // namespace

bool multiply(ThreadPool& pool, std::span<const MatrixProduct> products) {
  std::vector<RowRange> tasks;
  for (const MatrixProduct& product : products) {
    const Format& format = format_of(product.weights.type);
    if (!product.x->prepare_blocks(pool, format.activation)) return false;
    if (row_product_of(product, format) == nullptr) product.x->prepare_rounded(pool, format.activation);
    const int64_t rows_a_task = std::max<int64_t>(1, kTaskWeights / std::max<int64_t>(1, product.weights.n_columns));
    for (int64_t row = 0; row < product.weights.n_rows; row += rows_a_task)
      tasks.push_back({&product, row, std::min(row + rows_a_task, product.weights.n_rows)});
  }
  pool.run(static_cast<int64_t>(tasks.size()), [&](int64_t index) {
    const RowRange& task = tasks[static_cast<size_t>(index)];
    const Format& format = format_of(task.product->weights.type);
    RowProduct* row_product = row_product_of(*task.product, format);
    for (int64_t row = task.begin; row < task.end; ++row) {
      if (row_product != nullptr)
        multiply_eight_bit(*task.product, format, row_product, row);
      else
        multiply_dequantised(*task.product, format, row);
    }
  });
  return true;
}

void multiply_transposed(ThreadPool& pool, std::span<const TransposedMatrixProduct> products) {
  // A task is one product: heads are many, and splitting further would split the fixed order of the sum.
  pool.run(static_cast<int64_t>(products.size()), [&](int64_t index) {
    const TransposedMatrixProduct& product = products[static_cast<size_t>(index)];
    const Matrix& w = product.weights;
    const Format& format = format_of(w.type);
    const VectorLoops& loops = vector_loops();
    for (int64_t i = 0; i < product.n_inputs; ++i) std::fill_n(product.out + i * product.out_stride, w.n_columns, 0.0f);
    alignas(64) float piece[kPiece];
    for (int64_t row = 0; row < w.n_rows; ++row) {
      const std::byte* blocks = w.data + static_cast<uint64_t>(row) * w.row_bytes;
      for (int64_t at = 0; at < w.n_columns; at += kPiece) {
        const int64_t n = std::min(kPiece, w.n_columns - at);
        const uint64_t block = static_cast<uint64_t>(at / format.layout->block_values);
        format.dequantize(blocks + block * format.layout->block_bytes, n, piece);
        for (int64_t i = 0; i < product.n_inputs; ++i)
          loops.add_scaled(product.x[i * product.x_stride + row], piece, product.out + i * product.out_stride + at, n);
      }
    }
  });
}

void dequantize_row(const Matrix& matrix, int64_t index, float* values) {
  format_of(matrix.type)
      .dequantize(matrix.data + static_cast<uint64_t>(index) * matrix.row_bytes, matrix.n_columns, values);
}

}  // namespace sluice::kernels
