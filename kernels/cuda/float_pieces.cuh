// Floats as sums of 16-bit floats, which tensor cores multiply exactly.
//
// A value less its rounding to few bits is a float, and again can be rounded: of float32's 24 bits
//
//   F16    takes 11, two pieces 22 (the second's sign is one more), but only from 2^-24 to 65504
//   BF16   takes 8, three pieces all 24, in float32's own range
//
// Pieces hold two neighbouring columns in a word, the first in its low half.
#pragma once

#include <cstdint>

#include "kernels/cuda/fragments.cuh"

namespace sluice::kernels::cuda {

__device__ inline uint32_t bf16_pair(float low, float high) {
  uint32_t pair = 0;
#if __CUDA_ARCH__ >= 800
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
#endif
  return pair;
}

// Leaves of `low` and `high` what their piece has not. 1 / 2^23 of the value at most is lost behind the second, or 2^-25.
__device__ inline uint32_t take_f16_piece(float& low, float& high) {
  const __half2 pair = __floats2half2_rn(low, high);
  const float2 taken = __half22float2(pair);
  low -= taken.x;
  high -= taken.y;
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// Nothing is left behind the third, where none is below float32's normal numbers.
__device__ inline uint32_t take_bf16_piece(float& low, float& high) {
  const uint32_t pair = bf16_pair(low, high);
  low -= __uint_as_float(pair << 16);
  high -= __uint_as_float(pair & 0xFFFF0000u);
  return pair;
}

}  // namespace sluice::kernels::cuda
