// Products with points of a grid of magnitudes whose signs stand apart (IQ2 and IQ3).
#pragma once

#include <cstdint>

namespace sluice::kernels::cuda {

// The eighth sign of seven stored ones makes the number of minuses even.
__device__ inline uint32_t eight_signs(uint32_t seven_bits) {
  return seven_bits | (static_cast<uint32_t>(__popc(seven_bits)) & 1) << 7;
}

// A sum of products in two parts: where the sign is minus, ~g = -g - 1 stands for -g, and `minus` takes the code off again.
struct SignedSum {
  int plus = 0, minus = 0;
  __device__ int whole() const { return plus - minus; }
};

// Adds four magnitudes, with four sign bits, times four codes.
__device__ inline void add_signed(uint32_t magnitudes, uint32_t signs, int codes, SignedSum& sum) {
  const uint32_t mask = spread_masks(signs & 15);
  sum.plus = __dp4a(static_cast<int>(magnitudes ^ mask), codes, sum.plus);
  sum.minus = __dp4a(static_cast<int>(mask), codes, sum.minus);
}

// Sixteen: the magnitudes of words[0..3] and the 16 sign bits.
__device__ inline int dot_16_signed(const uint32_t* magnitudes, uint32_t signs, const int8_t* codes) {
  const int4 c = *reinterpret_cast<const int4*>(codes);
  SignedSum sum;
  add_signed(magnitudes[0], signs, c.x, sum);
  add_signed(magnitudes[1], signs >> 4, c.y, sum);
  add_signed(magnitudes[2], signs >> 8, c.z, sum);
  add_signed(magnitudes[3], signs >> 12, c.w, sum);
  return sum.whole();
}

}  // namespace sluice::kernels::cuda
