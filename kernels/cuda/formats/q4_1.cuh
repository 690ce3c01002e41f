// Q4_1   20 bytes, 32 values | scale f16 | offset f16 | q 16 |   value = scale * q + offset
//          q: values 0 to 15 in the low nibbles, 16 to 31 in the high ones
#pragma once

#include "kernels/cuda/formats/block32.cuh"

namespace sluice::kernels::cuda {

struct FormatQ4_1 : FormatBlock32<20> {
  struct Weights {
    uint32_t codes[8];
    float scale, offset;
  };
  __device__ static Weights take(const std::byte* shared, int at, int, const uint32_t*) {
    Weights w;
    uint32_t words[5];
    load_words(shared, at, words);
    const uint32_t packed[4] = {words[1], words[2], words[3], words[4]};
    unpack_nibbles(packed, w.codes);
    w.scale = float_of_f16(words[0] & 0xFFFF);
    w.offset = float_of_f16(words[0] >> 16);
    return w;
  }
  __device__ static float add(const Weights& w, const Input& x, int block, int, float sum) {
    const float scale = x.scales[block];
    sum = fmaf(w.scale * scale, static_cast<float>(dot_32(w.codes, x.codes + block * 32)), sum);
    return fmaf(w.offset * scale, static_cast<float>(x.sums[block]), sum);
  }
};

}  // namespace sluice::kernels::cuda
