// Where the parts of a tile of floats lie in dynamic shared memory (kernels/cuda/gemm_floats.cuh), for the host and the kernels.
#pragma once

#include "kernels/cuda/gemm_shape.h"

namespace sluice::kernels::cuda {

inline constexpr int kFloatStep = 32;                           // columns between two barriers: two matrix operations
inline constexpr int kFloatUnits = kGemmRows * kFloatStep / 8;  // of a step's weights, 8 columns each
inline constexpr int kFloatTileBytes = kGemmRows * kFloatStep * 2;  // of a piece of a step's weights

// Pieces of 16 bytes that 8 values touch, wherever they begin.
__host__ __device__ constexpr int float_raw_pieces(int value_bytes) {
  return value_bytes / 2 + 1;
}

struct FloatGemmLayout {
  int inputs;   // [inputs][32 floats], 16-byte pieces exchanged
  int raw;      // [raw pieces][units][16 bytes]
  int weights;  // [2][pieces of a weight][rows][32 values of 16 bits], 16-byte pieces exchanged
  int bytes;

  __host__ __device__ constexpr FloatGemmLayout(int n_inputs, int value_bytes, int n_weight_pieces)
      : inputs(0),
        raw(n_inputs * kFloatStep * 4),
        weights(raw + float_raw_pieces(value_bytes) * kFloatUnits * 16),
        bytes(weights + 2 * n_weight_pieces * kFloatTileBytes) {}
};

}  // namespace sluice::kernels::cuda
