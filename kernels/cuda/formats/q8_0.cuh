// Q8_0   34 bytes, 32 values | scale f16 | q i8 x 32 |             value = scale * q
// Q8_1   36 bytes, 32 values | scale f16 | sum f16 | q i8 x 32 |   the same
#pragma once

#include "kernels/cuda/formats/block32.cuh"

namespace sluice::kernels::cuda {

template <int kBytes>
struct FormatEightBits : FormatBlock32<kBytes> {
  struct Weights {
    uint32_t codes[8];
    float scale;
  };
  __device__ static Weights take(const std::byte* shared, int at, int, const uint32_t*) {
    Weights w;
    load_words(shared, at + kBytes - 32, w.codes);
    w.scale = float_of_f16(load_u16(shared, at));
    return w;
  }
  __device__ static float add(const Weights& w, const Input& x, int block, int, float sum) {
    const int whole = dot_32(w.codes, x.codes + block * 32);
    return fmaf(w.scale * x.scales[block], static_cast<float>(whole), sum);
  }
};
using FormatQ8_0 = FormatEightBits<34>;
using FormatQ8_1 = FormatEightBits<36>;

}  // namespace sluice::kernels::cuda
