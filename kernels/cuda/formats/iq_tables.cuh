// The tables of the IQ formats in shared memory, made of the packed grids (iq_grids.cuh) by all threads of a block.
#pragma once

#include "kernels/cuda/formats/iq_grids.cuh"

namespace sluice::kernels::cuda {

// Four fields of 2 bits become the bytes of a word.
__device__ inline uint32_t spread_pairs(uint32_t byte) {
  const uint32_t two = (byte | byte << 12) & 0x000F000Fu;
  return (two | two << 6) & 0x03030303u;
}

// A word for 8 values: kernels/cuda/formats/iq1.cuh.
__device__ inline void fill_grid_iq1(uint32_t* table) {
  for (int i = threadIdx.x; i < 2048; i += blockDim.x)
    table[i] = spread_pairs(kGridIq1[i] & 0xFF) | spread_pairs(kGridIq1[i] >> 8) << 4;
}

// Two words for 8 values of IQ2: 8, 25 or 43.
__device__ inline uint32_t magnitudes_iq2(uint32_t byte) {
  const uint32_t field = spread_pairs(byte);
  return 0x08080808u + field * 17 + (field >> 1 & 0x01010101u);
}
template <int kPoints>
__device__ inline void fill_grid_iq2(const uint16_t (&grid)[kPoints], uint32_t* table) {
  for (int i = threadIdx.x; i < kPoints; i += blockDim.x) {
    table[2 * i] = magnitudes_iq2(grid[i] & 0xFF);
    table[2 * i + 1] = magnitudes_iq2(grid[i] >> 8);
  }
}

// Four fields of 3 bits, 4 bits apart, become the bytes of a word.
__device__ inline uint32_t spread_nibbles(uint32_t half) {
  const uint32_t two = (half | half << 8) & 0x00FF00FFu;
  return (two | two << 4) & 0x0F0F0F0Fu;
}

// A word for 4 values of IQ3_XXS: 4, 12, 20, 28, 36, 44, 52 or 62; of IQ3_S: the odd numbers from 1 to 15.
__device__ inline void fill_grid_iq3_xxs(uint32_t* table) {
  for (int i = threadIdx.x; i < 256; i += blockDim.x) {
    const uint32_t field = spread_nibbles(kGridIq3Xxs[i]);
    table[i] = 0x04040404u + field * 8 + ((field & field >> 1 & field >> 2 & 0x01010101u) << 1);
  }
}
__device__ inline void fill_grid_iq3_s(uint32_t* table) {
  for (int i = threadIdx.x; i < 512; i += blockDim.x) table[i] = spread_nibbles(kGridIq3S[i]) * 2 + 0x01010101u;
}

}  // namespace sluice::kernels::cuda
