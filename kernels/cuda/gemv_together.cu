#include "kernels/cuda/gemv_together.cuh"

#include "kernels/cuda/formats/q4_k.cuh"
#include "kernels/cuda/formats/q6_k.cuh"
#include "kernels/cuda/gemv.cuh"

namespace sluice::kernels::cuda {

namespace {

// The formats that files mix in one layer, which read the same form of the input.
__global__ void __launch_bounds__(kGemvWarps * 32, 5) multiply_several(const TogetherArguments a) {
  const int block = blockIdx.x;
  GemvPart part = a.parts[0];
  int first_block = 0;
#pragma unroll
  for (int i = 1; i < static_cast<int>(kMostTogether); ++i)
    if (block >= a.parts[i - 1].end_block) {
      part = a.parts[i];
      first_block = a.parts[i - 1].end_block;
    }
  GemvArguments own = a.common;
  own.weights = part.weights;
  own.bias = part.bias;
  own.output = part.output;
  own.row_bytes = part.row_bytes;
  own.n_outputs = part.n_outputs;
  own.log2_lanes = part.log2_lanes;
  own.units_a_row = part.units_a_row;
  own.units_a_piece = part.units_a_piece;
  own.n_pieces = part.n_pieces;
  own.n_rounds = part.n_rounds;
  own.piece_bytes = part.piece_bytes;
  own.slot_bytes = part.slot_bytes;
  own.mode = GemvMode::Products;
  own.after = {};
  switch (part.type) {
    case gguf::TensorType::Q4_K:
      return multiply_block<FormatQ4_K, 1>(own, block - first_block);
    case gguf::TensorType::Q5_K:
      return multiply_block<FormatQ5_K, 1>(own, block - first_block);
    default:
      return multiply_block<FormatQ6_K, 1>(own, block - first_block);
  }
}

}  // namespace

const void* together_kernel() {
  return reinterpret_cast<const void*>(multiply_several);
}

}  // namespace sluice::kernels::cuda
