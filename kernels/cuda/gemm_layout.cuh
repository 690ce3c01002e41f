// Where the parts of a tile lie in dynamic shared memory (kernels/cuda/gemm.cuh), for the host and the kernels. Everything that is
// filled while it is used lies there twice.
#pragma once

#include "kernels/cuda/gemm_shape.h"

namespace sluice::kernels::cuda {

// Columns of raw blocks that are copied at a time: a super-block, or so many small ones.
__host__ __device__ constexpr int gemm_raw_columns(bool reads_per_32) {
  return reads_per_32 ? 128 : 256;
}

struct GemmLayout {
  int weights;       // [2][rows][64 bytes], 16-byte pieces exchanged (swizzled)
  int inputs;        // [2][inputs][64 bytes], the same
  int raw;           // [2][rows][raw_pitch]
  int words;         // [2][rows][4 words]: scales of a step
  int input_words;   // [2][inputs][4 words], Per32: two scales and two sums of a step
  int block_scales;  // [2][rows][2 floats], Per256
  int offsets;       // [2][rows][8 words of two halves], Per256
  int bytes;

  __host__ __device__ constexpr GemmLayout(int table_bytes, int raw_pitch, int n_inputs, bool reads_per_32)
      : weights(table_bytes),
        inputs(weights + 2 * kGemmRows * kGemmStep),
        raw(inputs + 2 * n_inputs * kGemmStep),
        words(raw + 2 * kGemmRows * raw_pitch),
        input_words(words + 2 * kGemmRows * 16),
        block_scales(input_words + (reads_per_32 ? 2 * n_inputs * 16 : 0)),
        offsets(block_scales + (reads_per_32 ? 0 : 2 * kGemmRows * 8)),
        bytes(offsets + (reads_per_32 ? 0 : 2 * kGemmRows * 32)) {}
};

}  // namespace sluice::kernels::cuda
