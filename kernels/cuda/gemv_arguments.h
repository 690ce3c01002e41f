// The arguments of the kernels that multiply rows of matrices (kernels/cuda/gemv.cuh): one structure for single products, batches,
// and the two halves of a layer's experts.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/experts.h"

namespace sluice::kernels::cuda {

enum class GemvMode : int32_t {
  Products,  // output = W x (+ bias); blockIdx.z is the matrix, blockIdx.y some inputs
  GateUp,  // output = silu(gate x) * (up x); blockIdx.y is the slot, row * n_used + k. Without places `weights` and what lies
           // matrix_stride behind it
  Gate,  // output = gate x, where gate and up are of different formats, and then
  Up,    // output = silu(output) * (up x)
  Down,  // output = sum over k of weight[k] * down_k x_k; blockIdx.y is the row
};

// What a launch does once its outputs are there. Null: it does not.
struct GemvAfter {
  OutputForms forms;
  uint64_t* ended;  // the moment at which the last thread block (by number) ends, on the GPU's clock
};

struct GemvArguments {
  const std::byte* weights;  // Products
  int64_t matrix_stride;
  const ExpertPlace* places;  // GateUp and Down
  const int32_t* ids;
  const float* expert_weights;
  const int8_t* codes;  // of the form that the format reads, or null
  const float* scales;
  const int32_t* sums;
  const float* values;
  int64_t values_stride;
  const float* bias;
  float* output;
  int64_t output_matrix_stride;
  int64_t output_stride;
  int64_t row_bytes;
  int64_t input_matrix_step;
  int64_t input_row_step;
  int32_t n_outputs;
  int32_t n_columns;
  int32_t n_inputs;
  int32_t n_used;
  GemvMode mode;
  // How a warp goes through its rows (kernels/cuda/gemv_shape.h).
  int32_t log2_lanes;
  int32_t units_a_row;
  int32_t units_a_piece;
  int32_t n_pieces;
  int32_t n_rounds;
  int32_t piece_bytes;
  int32_t slot_bytes;
  int32_t adds;  // Products: output += W x
  int32_t unused;
  GemvAfter after;
};

}  // namespace sluice::kernels::cuda
