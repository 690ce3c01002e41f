// The arguments of a launch that multiplies one input by several single matrices of different shapes and formats.
#pragma once

#include "kernels/cuda/gemv_arguments.h"
#include "kernels/cuda/multiply.h"

namespace sluice::kernels::cuda {

// In what its matrices differ; the members are those of GemvArguments.
struct GemvPart {
  const std::byte* weights;
  const float* bias;
  float* output;
  int64_t row_bytes;
  int32_t n_outputs;
  int32_t log2_lanes;
  int32_t units_a_row;
  int32_t units_a_piece;
  int32_t n_pieces;
  int32_t n_rounds;
  int32_t piece_bytes;
  int32_t slot_bytes;
  int32_t end_block;  // the part's thread blocks are those before it, from the end of the part before
  gguf::TensorType type;
};

struct TogetherArguments {
  GemvArguments common;
  GemvPart parts[kMostTogether];  // those that are not there end where the one before does
};

const void* together_kernel();

}  // namespace sluice::kernels::cuda
