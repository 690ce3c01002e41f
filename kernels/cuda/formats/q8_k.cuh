// Q8_K  292 bytes, 256 values | scale f32 | q i8 x 256 | sums i16 x 16 |   value = scale * q; the sums are not needed
#pragma once

#include "kernels/cuda/formats/block256.cuh"

namespace sluice::kernels::cuda {

struct FormatQ8_K : FormatBlock256<292> {
  struct Weights {
    uint32_t codes[8];
    float scale;
  };
  __device__ static Weights take(const std::byte* shared, int at, int part, const uint32_t*) {
    Weights w;
    load_words(shared, at + 4 + part * 32, w.codes);
    uint32_t scale[1];
    load_words(shared, at, scale);
    w.scale = __uint_as_float(scale[0]);
    return w;
  }
  __device__ static float add(const Weights& w, const Input& x, int block, int part, float sum) {
    const int whole = dot_32(w.codes, codes_of_part(x, block, part));
    return fmaf(w.scale * x.scales[block], static_cast<float>(whole), sum);
  }
};

}  // namespace sluice::kernels::cuda
