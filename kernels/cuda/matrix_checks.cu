#include "kernels/cuda/matrix_checks.h"

#include "kernels/cuda/launches.h"

namespace sluice::kernels::cuda {

namespace {

using gguf::TensorType;

std::string name_of(const Matrix& matrix) {
  return "A matrix of type " + std::string(format_of(matrix.type).layout->name);
}

}  // namespace

int64_t alignment_of(TensorType type) {
  switch (type) {
    case TensorType::F32:
    case TensorType::I32:
      return 4;
    case TensorType::F64:
    case TensorType::I64:
      return 8;
    case TensorType::I8:
      return 1;
    default:
      return 2;
  }
}

void check_matrix(const Matrix& matrix, bool has_data) {
  constexpr int64_t kMost = 0x3FFFFFFF;  // numbers of rows and columns are int32 in kernels
  const Format& format = format_of(matrix.type);
  const int64_t block_values = format.layout->block_values;
  if (matrix.n_outputs <= 0 || matrix.n_inputs <= 0 || matrix.n_outputs > kMost || matrix.n_inputs > kMost)
    throw std::invalid_argument(name_of(matrix) + " has " + std::to_string(matrix.n_outputs) + " rows of " +
                                std::to_string(matrix.n_inputs) + " columns; each must be from 1 to 1073741823.");
  if (matrix.n_inputs % block_values != 0)
    throw std::invalid_argument(name_of(matrix) + " has " + std::to_string(matrix.n_inputs) +
                                " columns: the number must be a multiple of its block of " +
                                std::to_string(block_values) + ".");
  const int64_t row_bytes = matrix.n_inputs / block_values * format.layout->block_bytes;
  if (matrix.row_bytes != static_cast<uint64_t>(row_bytes))
    throw std::invalid_argument(name_of(matrix) + " with " + std::to_string(matrix.n_inputs) + " columns has rows of " +
                                std::to_string(row_bytes) + " bytes, and not of " + std::to_string(matrix.row_bytes) +
                                ".");
  if (!has_data) return;
  const int64_t alignment = alignment_of(matrix.type);
  if (matrix.data == nullptr || reinterpret_cast<uintptr_t>(matrix.data) % static_cast<uintptr_t>(alignment) != 0)
    throw std::invalid_argument(name_of(matrix) + " must lie in device memory at a multiple of " +
                                std::to_string(alignment) + " bytes.");
}

void check_input(const Matrix& matrix, const Activations& input, int64_t last_row) {
  if (input.n_columns != matrix.n_inputs)
    throw std::invalid_argument(name_of(matrix) + " with " + std::to_string(matrix.n_inputs) +
                                " columns cannot be multiplied with inputs of " + std::to_string(input.n_columns) +
                                ".");
  if (last_row < 0 || last_row >= input.n_rows)
    throw std::invalid_argument(name_of(matrix) + " was to be multiplied with input row " + std::to_string(last_row) +
                                " of " + std::to_string(input.n_rows) + ".");
  const ActivationFormat activation = format_of(matrix.type).activation;
  const EightBitForm& form = activation == ActivationFormat::Per32 ? input.per32 : input.per256;
  const bool is_there = activation == ActivationFormat::F32
                            ? input.values != nullptr
                            : form.codes != nullptr && form.scales != nullptr && form.sums != nullptr;
  if (!is_there)
    throw std::invalid_argument(name_of(matrix) +
                                " reads a form of its input (floats, or 8 bits per 32 or 256 values) that is "
                                "not there: make the forms first.");
}

}  // namespace sluice::kernels::cuda
