// Q2_K   84 bytes, 256 values | scales 16 | q 64 | scale f16 | min f16 |   16 values: value = scale*s * q - min*m
//          s is the low nibble of a byte of `scales`, m the high one
//          value v: byte 32*(v/128) + v%32 of q, the pair of bits (v/32)%4
#pragma once

#include "kernels/cuda/formats/block256.cuh"

namespace sluice::kernels::cuda {

struct FormatQ2_K : FormatBlock256<84> {
  struct Weights {
    uint32_t codes[8];
    uint32_t scales;         // two bytes
    uint32_t scale_and_min;  // f16 each
  };
  __device__ static Weights take(const std::byte* shared, int at, int part, const uint32_t*) {
    Weights w;
    load_words(shared, at + 16 + part / 4 * 32, w.codes);
#pragma unroll
    for (int i = 0; i < 8; ++i) w.codes[i] = w.codes[i] >> (part % 4 * 2) & 0x03030303u;
    w.scales = load_u16(shared, at + part * 2);
    uint32_t word[1];
    load_words(shared, at + 80, word);
    w.scale_and_min = word[0];
    return w;
  }
  __device__ static float add(const Weights& w, const Input& x, int block, int part, float sum) {
    const int8_t* codes = codes_of_part(x, block, part);
    const TwoSums sums = sums_of_part(x, block, part);
    const int s0 = w.scales & 15, m0 = w.scales >> 4 & 15, s1 = w.scales >> 8 & 15, m1 = w.scales >> 12;
    const int whole = s0 * dot_16(w.codes, codes, 0) + s1 * dot_16(w.codes + 4, codes + 16, 0);
    const float scale = x.scales[block];
    sum = fmaf(float_of_f16(w.scale_and_min & 0xFFFF) * scale, static_cast<float>(whole), sum);
    return fmaf(-float_of_f16(w.scale_and_min >> 16) * scale, static_cast<float>(m0 * sums.first + m1 * sums.second),
                sum);
  }
};

}  // namespace sluice::kernels::cuda
