// Q4_K  144 bytes, 256 values | scale f16 | min f16 | scales 12 | q 128 |   32 values: value = scale*s * q - min*m
//         value v: byte 32*(v/64) + v%32 of q, the nibble (v/32)%2
//         bytes 0-3 of `scales`: 6 bits of s 0-3, and above them the top 2 bits of s 4-7
//         bytes 4-7: 6 bits of m 0-3, and above them the top 2 bits of m 4-7
//         bytes 8-11: the low 4 bits of s 4-7 (low nibbles) and m 4-7 (high nibbles)
//
// Q5_K  176 bytes: the same with `high` 32 before q; value v: byte v%32 of high, bit v/32 is its fifth bit
//
// Lane `part` takes 16 bytes of q, both nibbles: half part%2 of sub-blocks 2*(part/2) and 2*(part/2) + 1.
#pragma once

#include "kernels/cuda/formats/block256.cuh"

namespace sluice::kernels::cuda {

template <int kBytes>
struct FormatQ45_K : FormatBlock256<kBytes> {
  static constexpr bool kHasHigh = kBytes == 176;

  struct Weights {
    uint32_t low[4], high[4];  // codes of the even and the odd sub-block
    uint32_t scales, mins;     // of both, a byte each
    uint32_t scale_and_min;    // f16 each
  };
  __device__ static Weights take(const std::byte* shared, int at, int part, const uint32_t*) {
    Weights w;
    uint32_t head[4], packed[4];
    load_quad(shared, at, head);
    load_quad(shared, at + kBytes - 128 + part * 16, packed);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      w.low[i] = packed[i] & 0x0F0F0F0Fu;
      w.high[i] = packed[i] >> 4 & 0x0F0F0F0Fu;
    }
    if constexpr (kHasHigh) {
      uint32_t fifths[4];
      load_quad(shared, at + 16 + part % 2 * 16, fifths);
      const int bit = part / 2 * 2;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const uint32_t two = fifths[i] >> bit;
        w.low[i] |= (two & 0x01010101u) << 4;
        w.high[i] |= (two & 0x02020202u) << 3;
      }
    }
    w.scale_and_min = head[0];
    const int shift = part / 2 % 2 * 16;
    const uint32_t s = head[1] >> shift, m = head[2] >> shift, low = head[3] >> shift;
    w.scales = part < 4 ? s & 0x3F3Fu : (low & 0x0F0Fu) | (s >> 2 & 0x3030u);
    w.mins = part < 4 ? m & 0x3F3Fu : (low >> 4 & 0x0F0Fu) | (m >> 2 & 0x3030u);
    return w;
  }
  __device__ static float add(const Weights& w, const Input& x, int block, int part, float sum) {
    const int first = part / 2 * 64 + part % 2 * 16;
    const int8_t* codes = x.codes + block * 256 + first;
    const int32_t* sums = x.sums + block * 16 + first / 16;
    const int s0 = w.scales & 0xFF, s1 = w.scales >> 8 & 0xFF, m0 = w.mins & 0xFF, m1 = w.mins >> 8 & 0xFF;
    const int whole = s0 * dot_16(w.low, codes, 0) + s1 * dot_16(w.high, codes + 32, 0);
    const int whole_mins = m0 * sums[0] + m1 * sums[2];
    const float scale = x.scales[block];
    sum = fmaf(float_of_f16(w.scale_and_min & 0xFFFF) * scale, static_cast<float>(whole), sum);
    return fmaf(-float_of_f16(w.scale_and_min >> 16) * scale, static_cast<float>(whole_mins), sum);
  }
};
using FormatQ4_K = FormatQ45_K<144>;
using FormatQ5_K = FormatQ45_K<176>;

}  // namespace sluice::kernels::cuda
