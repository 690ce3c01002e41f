// What a thread decodes at a time for the tiles of gemm.cuh: 32 neighbouring columns of a row as signed bytes, and their scales.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/cuda/bytes.cuh"

namespace sluice::kernels::cuda {

struct GemmUnit {
  uint32_t codes[8] = {};  // signed bytes
  uint32_t words[2] = {};  // scales of 32 or of 16 values, as the family has them
  // Of the whole block of 256, where the family has such:
  float scale = 0;
  float offset_scale = 0;
  uint32_t offsets = 0;  // two halves, whole numbers: what the sums of the input's 16 and 16 codes are multiplied by
};

// Bytes from 0 to 127 less k, from 0 to 128, as signed bytes.
__device__ inline uint32_t less(uint32_t bytes, uint32_t k) {
  return ((bytes | 0x80808080u) - k * 0x01010101u) ^ 0x80808080u;
}

// Each byte times `factor`; the product's lowest eight bits.
__device__ inline uint32_t times(uint32_t bytes, int factor) {
  const uint32_t f = static_cast<uint32_t>(factor) & 0xFF;
  return ((bytes & 0x00FF00FFu) * f & 0x00FF00FFu) | ((bytes >> 8 & 0x00FF00FFu) * f & 0x00FF00FFu) << 8;
}

// Bytes from 1 to 127 and a bit for the sign of each, of which a set one is minus.
__device__ inline uint32_t with_signs(uint32_t magnitudes, uint32_t four_bits) {
  const uint32_t mask = spread_masks(four_bits & 15);
  return (magnitudes ^ mask) + (mask & 0x01010101u);
}

__device__ inline uint32_t two_halves(int low, int high) {
  return static_cast<uint32_t>(__half_as_ushort(__int2half_rn(low))) |
         static_cast<uint32_t>(__half_as_ushort(__int2half_rn(high))) << 16;
}

}  // namespace sluice::kernels::cuda
