// What the formats with blocks of 32 values share: a lane takes a block, with one scale.
#pragma once

#include "kernels/cuda/bytes.cuh"
#include "kernels/cuda/input.cuh"

namespace sluice::kernels::cuda {

template <int kBytes>
struct FormatBlock32 : ReadsPer32 {
  static constexpr int kBlockValues = 32, kBlockBytes = kBytes, kUnitValues = 32, kUnitsABlock = 1;
  static constexpr int kTableBytes = 0, kUnroll = 1;
};

// value = scale * q + offset
template <int kBytes>
struct FormatWithOffset : FormatBlock32<kBytes> {
  struct Weights {
    uint32_t codes[8];
    float scale, offset;
  };
  __device__ static float add(const Weights& w, const Input& x, int block, int, float sum) {
    const float scale = x.scales[block];
    sum = fmaf(w.scale * scale, static_cast<float>(dot_32(w.codes, x.codes + block * 32)), sum);
    return fmaf(w.offset * scale, static_cast<float>(x.sums[block]), sum);
  }
};

// 16 bytes whose low nibbles are values 0 to 15 and whose high ones are 16 to 31.
__device__ inline void unpack_nibbles(const uint32_t (&packed)[4], uint32_t (&codes)[8]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    codes[i] = packed[i] & 0x0F0F0F0Fu;
    codes[i + 4] = packed[i] >> 4 & 0x0F0F0F0Fu;
  }
}

// Bit v of `high` is the fifth bit of value v.
__device__ inline void add_fifth_bits(uint32_t high, uint32_t (&codes)[8]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) codes[i] |= spread_bits(high >> (4 * i) & 15) << 4;
}

}  // namespace sluice::kernels::cuda
