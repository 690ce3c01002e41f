// What the arguments of products have in common, whichever kernel multiplies: GemvArguments and GemmArguments name it alike.
#pragma once

#include "kernels/cuda/multiply.h"

namespace sluice::kernels::cuda {

template <class Arguments>
void set_places(Arguments& a, const MatrixProducts& products) {
  a.weights = products.matrix.data;
  a.matrix_stride = products.matrix_stride;
  a.bias = products.matrix.bias;
  a.output = products.output;
  a.output_matrix_stride = products.output_matrix_stride;
  a.output_stride = products.output_stride;
  a.input_matrix_step = products.input_matrix_step;
  a.input_row_step = products.input_row_step;
  a.n_inputs = static_cast<int32_t>(products.n_inputs_each);
}

}  // namespace sluice::kernels::cuda
