// Products across the rows of quantised matrices: out[i, c] = sum over r, in order, of x[i, r] * W[r, c].
//
// A panel of kPanelRows rows by kPanelColumns columns is made floats once and then added, weighted, to the outputs of
// all inputs. Tasks are columns of one matrix, so that a sum never crosses threads.

#include <algorithm>
#include <vector>

#include "kernels/cpu/dequantize.h"
#include "kernels/cpu/multiply.h"
#include "kernels/cpu/row_operations.h"
#include "kernels/cpu/share_work.h"
#include "kernels/format.h"

namespace sluice::kernels {
namespace {

constexpr int64_t kPanelColumns = 256;  // a multiple of every block
constexpr int64_t kPanelRows = 32;      // 32 KB of floats

struct ColumnRange {
  const TransposedMatrixProduct* product;
  int64_t begin, end;
};

void multiply_columns(const TransposedMatrixProduct& product, int64_t begin, int64_t end) {
  const Matrix& w = product.weights;
  const gguf::TypeLayout& layout = *format_of(w.type).layout;
  Dequantize* dequantize = fast_dequantize(w.type);
  const int64_t n_columns = end - begin;
  const uint64_t first_byte = static_cast<uint64_t>(begin / layout.block_values) * layout.block_bytes;
  float* out = product.out + begin;
  for (int64_t i = 0; i < product.n_inputs; ++i) std::fill_n(out + i * product.out_stride, n_columns, 0.0f);
  alignas(64) float panel[kPanelRows * kPanelColumns];
  for (int64_t row = 0; row < w.n_rows; row += kPanelRows) {
    const int64_t n_rows = std::min(kPanelRows, w.n_rows - row);
    for (int64_t r = 0; r < n_rows; ++r)
      dequantize(w.data + static_cast<uint64_t>(row + r) * w.row_bytes + first_byte, n_columns,
                 panel + r * kPanelColumns);
    row_operations().add_weighted_rows(product.x + row, product.x_stride, product.n_inputs, panel, kPanelColumns,
                                       n_rows, n_columns, out, product.out_stride);
  }
}

}  // namespace

void multiply_transposed(ThreadPool& pool, std::span<const TransposedMatrixProduct> products) {
  std::vector<ColumnRange> tasks;
  int64_t n_products = 0;
  for (const TransposedMatrixProduct& product : products) {
    const Matrix& w = product.weights;
    for (int64_t at = 0; at < w.n_columns; at += kPanelColumns)
      tasks.push_back({&product, at, std::min(at + kPanelColumns, w.n_columns)});
    n_products += w.n_rows * w.n_columns * (2 + product.n_inputs);
  }
  share_work(pool, static_cast<int64_t>(tasks.size()), n_products, [&](int64_t i) {
    const ColumnRange& task = tasks[static_cast<size_t>(i)];
    multiply_columns(*task.product, task.begin, task.end);
  });
}

}  // namespace sluice::kernels
