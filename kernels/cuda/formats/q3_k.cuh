// Q3_K  110 bytes, 256 values | high 32 | q 64 | scales 12 | scale f16 |   16 values: value = scale*(s - 32) * (q - 4)
//         value v: byte 32*(v/128) + v%32 of q, the pair of bits (v/32)%4; byte v%32 of high, bit v/32 is its third bit
//         bytes 0-7 of `scales`: low 4 bits of s 0-7 (low nibbles) and 8-15 (high nibbles)
//         bytes 8-11: byte j holds the top 2 bits of s j, j+4, j+8, j+12, lowest bits first
#pragma once

#include "kernels/cuda/formats/block256.cuh"

namespace sluice::kernels::cuda {

struct FormatQ3_K : FormatBlock256<110> {
  struct Weights {
    uint32_t codes[8];
    int s0, s1;
    float scale;
  };
  __device__ static Weights take(const std::byte* shared, int at, int part, const uint32_t*) {
    Weights w;
    uint32_t high[8];
    load_words(shared, at + 32 + part / 4 * 32, w.codes);
    load_words(shared, at, high);
#pragma unroll
    for (int i = 0; i < 8; ++i)
      w.codes[i] = (w.codes[i] >> (part % 4 * 2) & 0x03030303u) | (high[i] >> part & 0x01010101u) << 2;
    // Scales 2*part and 2*part + 1 are neighbouring bytes, with their top bits at the same place.
    const uint32_t low = load_u16(shared, at + 96 + part % 4 * 2) >> (part / 4 * 4) & 0x0F0Fu;
    const uint32_t top = load_u16(shared, at + 104 + part % 2 * 2) >> (part / 2 * 2) & 0x0303u;
    const uint32_t scales = low | top << 4;
    w.s0 = static_cast<int>(scales & 0xFF) - 32;
    w.s1 = static_cast<int>(scales >> 8) - 32;
    w.scale = float_of_f16(load_u16(shared, at + 108));
    return w;
  }
  __device__ static float add(const Weights& w, const Input& x, int block, int part, float sum) {
    const int8_t* codes = codes_of_part(x, block, part);
    const TwoSums sums = sums_of_part(x, block, part);
    const int whole = w.s0 * (dot_16(w.codes, codes, 0) - 4 * sums.first) +
                      w.s1 * (dot_16(w.codes + 4, codes + 16, 0) - 4 * sums.second);
    return fmaf(w.scale * x.scales[block], static_cast<float>(whole), sum);
  }
};

}  // namespace sluice::kernels::cuda
