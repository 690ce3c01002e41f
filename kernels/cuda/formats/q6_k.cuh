// Q6_K  210 bytes, 256 values | q 128 | high 64 | s i8 x 16 | scale f16 |   16 values: value = scale*s * (q - 32)
//         value v: byte 64*(v/128) + v%64 of q, the nibble (v/64)%2
//                  byte 32*(v/128) + v%32 of high, the pair of bits (v/32)%4
//
// Lane `part` takes 16 bytes of q, both nibbles: values 128*(part/4) + 16*(part%4) and the 15 after it, and those 64 further.
#pragma once

#include "kernels/cuda/formats/block256.cuh"

namespace sluice::kernels::cuda {

struct FormatQ6_K : FormatBlock256<210> {
  struct Weights {
    uint32_t low[4], high[4];  // codes of the two runs of 16 values
    int s0, s1;
    float scale;
  };
  __device__ static Weights take(const std::byte* shared, int at, int part, const uint32_t*) {
    Weights w;
    uint32_t packed[4], pairs[4];
    load_words(shared, at + part * 16, packed);
    load_words(shared, at + 128 + part / 4 * 32 + part % 2 * 16, pairs);
    const int bit = part / 2 % 2 * 2;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t two = pairs[i] >> bit;  // bits 0 and 1 for the first run, 4 and 5 for the second
      w.low[i] = (packed[i] & 0x0F0F0F0Fu) | (two << 4 & 0x30303030u);
      w.high[i] = (packed[i] >> 4 & 0x0F0F0F0Fu) | (two & 0x30303030u);
    }
    const int first = part / 4 * 8 + part % 4;
    w.s0 = static_cast<int8_t>(load_byte(shared, at + 192 + first));
    w.s1 = static_cast<int8_t>(load_byte(shared, at + 192 + first + 4));
    w.scale = float_of_f16(load_u16(shared, at + 208));
    return w;
  }
  __device__ static float add(const Weights& w, const Input& x, int block, int part, float sum) {
    const int first = part / 4 * 128 + part % 4 * 16;
    const int8_t* codes = x.codes + block * 256 + first;
    const int32_t* sums = x.sums + block * 16 + first / 16;
    const int whole =
        w.s0 * (dot_16(w.low, codes, 0) - 32 * sums[0]) + w.s1 * (dot_16(w.high, codes + 64, 0) - 32 * sums[4]);
    return fmaf(w.scale * x.scales[block], static_cast<float>(whole), sum);
  }
};

}  // namespace sluice::kernels::cuda
