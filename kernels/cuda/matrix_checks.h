// What is asked of matrices and inputs before anything is launched. All throw std::invalid_argument with a sentence.
#pragma once

#include "kernels/cuda/multiply.h"
#include "kernels/format.h"

namespace sluice::kernels::cuda {

// Shape, bytes a row and alignment. `has_data`: whether `data` is used.
void check_matrix(const Matrix& matrix, bool has_data);

// Whether the form that the format reads is there, for n_columns of the matrix and rows 0 to last_row.
void check_input(const Matrix& matrix, const Activations& input, int64_t last_row);

// What a matrix lying at an address that kernels read for themselves must be aligned to.
int64_t alignment_of(gguf::TensorType type);

}  // namespace sluice::kernels::cuda
