// Q6_K  210 bytes, 256 values | q 128 | high 64 | s i8 x 16 | scale f16 |   16 values: value = scale*s * (q - 32)
//         value v: byte 64*(v/128) + v%64 of q, the nibble (v/64)%2
//                  byte 32*(v/128) + v%32 of high, the pair of bits (v/32)%4
//
// Lane `part` takes 16 bytes of high and the codes to which they belong: with half = part/2 and the run of 16 values
// first = 128*half + 16*(part%2), that and the runs 32, 64 and 96 values further.
#pragma once

#include "kernels/cuda/formats/block256.cuh"

namespace sluice::kernels::cuda {

struct FormatQ6_K : FormatBlock256<210, 4> {
  struct Weights {
    uint32_t runs[4][4];  // codes of the runs of 16 values
    int scales[4];
    float scale;
  };
  __device__ static Weights take(const std::byte* shared, int at, int part, const uint32_t*) {
    Weights w;
    const int half = part / 2, run = part % 2;
    uint32_t first[4], second[4], pairs[4];
    load_words(shared, at + half * 64 + run * 16, first);
    load_words(shared, at + half * 64 + run * 16 + 32, second);
    load_words(shared, at + 128 + half * 32 + run * 16, pairs);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      w.runs[0][i] = (first[i] & 0x0F0F0F0Fu) | (pairs[i] << 4 & 0x30303030u);
      w.runs[1][i] = (second[i] & 0x0F0F0F0Fu) | (pairs[i] << 2 & 0x30303030u);
      w.runs[2][i] = (first[i] >> 4 & 0x0F0F0F0Fu) | (pairs[i] & 0x30303030u);
      w.runs[3][i] = (second[i] >> 4 & 0x0F0F0F0Fu) | (pairs[i] >> 2 & 0x30303030u);
      w.scales[i] = static_cast<int8_t>(load_byte(shared, at + 192 + half * 8 + run + 2 * i));
    }
    w.scale = float_of_f16(load_u16(shared, at + 208));
    return w;
  }
  __device__ static float add(const Weights& w, const Input& x, int block, int part, float sum) {
    const int first = part / 2 * 128 + part % 2 * 16;
    const int8_t* codes = x.codes + block * 256 + first;
    const int32_t* sums = x.sums + block * 16 + first / 16;
    int whole = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) whole += w.scales[i] * dot_16(w.runs[i], codes + 32 * i, -32 * sums[2 * i]);
    return fmaf(w.scale * x.scales[block], static_cast<float>(whole), sum);
  }
};

}  // namespace sluice::kernels::cuda
