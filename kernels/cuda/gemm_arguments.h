// The arguments of the kernels that multiply tiles of matrices (kernels/cuda/gemm.cuh and gemm_floats.cuh): one structure for dense products and for
// products grouped by expert.
#pragma once

#include <cstddef>
#include <cstdint>

#include "gguf/tensor_type.h"
#include "kernels/cuda/experts.h"

namespace sluice::kernels::cuda {

enum class GemmMode : int32_t {
  Products,  // output = W x (+ bias); blockIdx.z is the matrix
  GateUp,    // output = silu(gate x) * (up x), of the pairs of a tile
  Gate,      // output = gate x, where gate and up are of different formats, and then
  Up,        // output = silu(output) * (up x)
  Down,      // output = down x, not weighted yet
};

// Pairs of a token and an expert that it uses, of one expert: the places from `first` on in GemmArguments::order.
struct ExpertTile {
  int32_t expert;
  int32_t first;
  int32_t n_pairs;
  int32_t unused;
};

struct GemmArguments {
  const std::byte* weights;  // Products
  int64_t matrix_stride;
  const ExpertPlace* places;  // the other modes
  const ExpertTile* tiles;
  const int32_t* order;    // slots, row * n_used + k, by expert
  const int32_t* n_tiles;  // so many are there; blocks of the others have nothing to do
  const int8_t* codes;     // of the form that the format reads
  const float* scales;
  const int32_t* sums;
  const float* values;  // of formats of floats, which read these instead; rows lie values_stride floats apart
  int64_t values_stride;
  const float* bias;
  float* output;
  int64_t output_matrix_stride;
  int64_t output_stride;
  int64_t row_bytes;
  int64_t input_matrix_step;
  int64_t input_row_step;
  int32_t n_outputs;
  int32_t first_output, end_output;  // those that are made; output + 0 is the first of them
  int32_t n_columns;
  int32_t n_inputs;  // Products
  int32_t n_used;
  GemmMode mode;
  gguf::TensorType type;
  // How blocks are brought to shared memory (kernels/cuda/gemm_shape.h).
  int32_t log2_block_values;
  int32_t block_bytes;
  int32_t raw_bytes;  // of a row's raw step
  int32_t raw_pitch;
  int32_t table_bytes;
  int32_t has_offsets;
};
static_assert(sizeof(GemmArguments) % 8 == 0);

}  // namespace sluice::kernels::cuda
