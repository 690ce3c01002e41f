// Reading the fields of blocks that lie in shared memory at any address.
//
// A place is an offset in bytes from the begin of the block's dynamic shared memory, which is 16-byte aligned. Blocks of most
// formats are 2-byte aligned at best: their words are put together of the aligned words that they straddle. No word is read of
// which no byte was asked for.
#pragma once

#include <cuda_fp16.h>

#include <cstddef>
#include <cstdint>

namespace sluice::kernels::cuda {

__device__ inline uint32_t load_byte(const std::byte* shared, int at) {
  return *reinterpret_cast<const uint8_t*>(shared + at);
}

// At a multiple of 2.
__device__ inline uint32_t load_u16(const std::byte* shared, int at) {
  return *reinterpret_cast<const uint16_t*>(shared + at);
}

template <int kWords>
__device__ inline void load_words(const std::byte* shared, int at, uint32_t (&words)[kWords]) {
  const std::byte* from = shared + (at & ~3);
  const uint32_t shift = (at & 3) * 8;
  uint32_t low = *reinterpret_cast<const uint32_t*>(from);
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
    const std::byte* next = i + 1 < kWords ? from + 4 * (i + 1) : shared + ((at + 4 * kWords - 1) & ~3);
    const uint32_t high = *reinterpret_cast<const uint32_t*>(next);
    words[i] = __funnelshift_r(low, high, shift);
    low = high;
  }
}

// Four words at a multiple of 16, in one load.
__device__ inline void load_quad(const std::byte* shared, int at, uint32_t* words) {
  const uint4 quad = *reinterpret_cast<const uint4*>(shared + at);
  words[0] = quad.x;
  words[1] = quad.y;
  words[2] = quad.z;
  words[3] = quad.w;
}

__device__ inline float float_of_f16(uint32_t bits) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}

// The lowest four bits of x become the bytes of a word: 1 where a bit is set.
__device__ inline uint32_t spread_bits(uint32_t four_bits) {
  return (four_bits * 0x00204081u) & 0x01010101u;
}

// The same as masks: 0xFF where a bit is set.
__device__ inline uint32_t spread_masks(uint32_t four_bits) {
  uint32_t masks;  // selectors 8 to 11 repeat the highest bits of bytes 0 to 3
  asm("prmt.b32 %0, %1, 0, 0xBA98;" : "=r"(masks) : "r"(four_bits * 0x10204080u));
  return masks;
}

}  // namespace sluice::kernels::cuda
