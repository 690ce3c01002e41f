// Floats to 16 bits, as kernels/reference/half.h rounds them, NaNs included.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

namespace sluice::kernels::cuda {

__device__ inline uint32_t f16_bits(float x) {
  const uint32_t bits = __float_as_uint(x), magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return (bits >> 16 & 0x8000u) | 0x7E00u | (magnitude >> 13 & 0x3FFu);
  return __half_as_ushort(__float2half_rn(x));
}

__device__ inline uint32_t bf16_bits(float x) {
  const uint32_t bits = __float_as_uint(x);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return (bits >> 16 | 0x40u) & 0xFFFFu;
  return (bits + 0x7FFFu + (bits >> 16 & 1)) >> 16;
}

}  // namespace sluice::kernels::cuda
