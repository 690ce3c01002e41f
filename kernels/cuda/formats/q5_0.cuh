// Q5_0   22 bytes, 32 values | scale f16 | high u32 | q 16 |   value = scale * (q - 16)
//          q: values 0 to 15 in the low nibbles, 16 to 31 in the high ones; bit v of `high` is the fifth bit of value v
#pragma once

#include "kernels/cuda/formats/block32.cuh"

namespace sluice::kernels::cuda {

struct FormatQ5_0 : FormatBlock32<22> {
  struct Weights {
    uint32_t codes[8];
    float scale;
  };
  __device__ static Weights take(const std::byte* shared, int at, int, const uint32_t*) {
    Weights w;
    uint32_t words[5];
    load_words(shared, at + 2, words);
    const uint32_t packed[4] = {words[1], words[2], words[3], words[4]};
    unpack_nibbles(packed, w.codes);
    add_fifth_bits(words[0], w.codes);
    w.scale = float_of_f16(load_u16(shared, at));
    return w;
  }
  __device__ static float add(const Weights& w, const Input& x, int block, int, float sum) {
    const int whole = dot_32(w.codes, x.codes + block * 32) - 16 * x.sums[block];
    return fmaf(w.scale * x.scales[block], static_cast<float>(whole), sum);
  }
};

}  // namespace sluice::kernels::cuda
