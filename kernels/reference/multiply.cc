#include "kernels/reference/multiply.h"

#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/format.h"

namespace sluice::kernels::reference {

namespace {

// Hands out the rows of a matrix one after another as floats.
class Rows {
 public:
  Rows(gguf::TensorType type, const std::byte* weights, int64_t n_columns)
      : format_(format_of(type)), weights_(weights), row_(static_cast<size_t>(n_columns < 0 ? 0 : n_columns)) {
    const int64_t block_values = format_.layout->block_values;
    if (n_columns < 0 || n_columns % block_values != 0)
      throw std::invalid_argument(
          "Cannot multiply " + std::to_string(n_columns) + " columns of type " + std::string(format_.layout->name) +
          ": the number must be a multiple of its block of " + std::to_string(block_values) + ".");
    row_bytes_ = n_columns / block_values * format_.layout->block_bytes;
  }

  void require(ActivationFormat activation, const char* name) const {
    if (format_.activation != activation)
      throw std::invalid_argument("Weights of type " + std::string(format_.layout->name) +
                                  " are not multiplied by activations of form " + name + ".");
  }

  const float* operator[](int64_t r) {
    format_.dequantize(weights_ + r * row_bytes_, static_cast<int64_t>(row_.size()), row_.data());
    return row_.data();
  }

 private:
  const Format& format_;
  const std::byte* weights_;
  int64_t row_bytes_ = 0;
  std::vector<float> row_;
};

template <class Block, int kBlockValues>
void multiply_blocks(Rows& rows, int64_t n_rows, int64_t n_columns, const Block* activations, int64_t m, float* out) {
  const int64_t n_blocks = n_columns / kBlockValues;
  for (int64_t r = 0; r < n_rows; ++r) {
    const float* row = rows[r];
    for (int64_t j = 0; j < m; ++j) {
      double sum = 0;
      for (int64_t b = 0; b < n_blocks; ++b) {
        const Block& block = activations[j * n_blocks + b];
        double block_sum = 0;
        for (int i = 0; i < kBlockValues; ++i) block_sum += double{row[b * kBlockValues + i]} * block.q[i];
        sum += block.scale * block_sum;
      }
      out[j * n_rows + r] = static_cast<float>(sum);
    }
  }
}

}  // namespace

void multiply(gguf::TensorType type, const std::byte* weights, int64_t n_rows, int64_t n_columns,
              const float* activations, int64_t m, float* out) {
  Rows rows(type, weights, n_columns);
  for (int64_t r = 0; r < n_rows; ++r) {
    const float* row = rows[r];
    for (int64_t j = 0; j < m; ++j) {
      double sum = 0;
      for (int64_t i = 0; i < n_columns; ++i) sum += double{row[i]} * activations[j * n_columns + i];
      out[j * n_rows + r] = static_cast<float>(sum);
    }
  }
}

void multiply(gguf::TensorType type, const std::byte* weights, int64_t n_rows, int64_t n_columns,
              const Activation32* activations, int64_t m, float* out) {
  Rows rows(type, weights, n_columns);
  rows.require(ActivationFormat::Per32, "Per32");
  multiply_blocks<Activation32, 32>(rows, n_rows, n_columns, activations, m, out);
}

void multiply(gguf::TensorType type, const std::byte* weights, int64_t n_rows, int64_t n_columns,
              const Activation256* activations, int64_t m, float* out) {
  Rows rows(type, weights, n_columns);
  rows.require(ActivationFormat::Per256, "Per256");
  multiply_blocks<Activation256, 256>(rows, n_rows, n_columns, activations, m, out);
}

void multiply_transposed(gguf::TensorType type, const std::byte* weights, int64_t n_rows, int64_t n_columns,
                         const float* x, float* out) {
  Rows rows(type, weights, n_columns);
  std::vector<double> sums(static_cast<size_t>(n_columns));
  for (int64_t r = 0; r < n_rows; ++r) {
    const float* row = rows[r];
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += double{x[r]} * row[i];
  }
  for (size_t i = 0; i < sums.size(); ++i) out[i] = static_cast<float>(sums[i]);
}

}  // namespace sluice::kernels::reference
