// Q4_0   18 bytes, 32 values | scale f16 | q 16 |   value = scale * (q - 8)
//          q: values 0 to 15 in the low nibbles, 16 to 31 in the high ones
#pragma once

#include "kernels/cuda/formats/block32.cuh"

namespace sluice::kernels::cuda {

struct FormatQ4_0 : FormatBlock32<18> {
  struct Weights {
    uint32_t codes[8];
    float scale;
  };
  __device__ static Weights take(const std::byte* shared, int at, int, const uint32_t*) {
    Weights w;
    uint32_t packed[4];
    load_words(shared, at + 2, packed);
    unpack_nibbles(packed, w.codes);
    w.scale = float_of_f16(load_u16(shared, at));
    return w;
  }
  __device__ static float add(const Weights& w, const Input& x, int block, int, float sum) {
    const int whole = dot_32(w.codes, x.codes + block * 32) - 8 * x.sums[block];
    return fmaf(w.scale * x.scales[block], static_cast<float>(whole), sum);
  }
};

}  // namespace sluice::kernels::cuda
