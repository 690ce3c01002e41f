// Q1_0   18 bytes, 128 values | scale f16 | signs 16 |   value = bit ? scale : -scale; value v: bit v%8 of signs[v/8]
//
// With b = 0 or 1 the value is scale * (2b - 1).
#pragma once

#include "kernels/cuda/bytes.cuh"
#include "kernels/cuda/input.cuh"

namespace sluice::kernels::cuda {

struct FormatQ1_0 : ReadsPer32 {
  static constexpr int kBlockValues = 128, kBlockBytes = 18, kUnitValues = 32, kUnitsABlock = 4;
  static constexpr int kTableBytes = 0, kUnroll = 1;

  struct Weights {
    uint32_t codes[8];
    float scale;
  };
  __device__ static Weights take(const std::byte* shared, int at, int part, const uint32_t*) {
    Weights w;
    uint32_t signs[1];
    load_words(shared, at + 2 + part * 4, signs);
#pragma unroll
    for (int i = 0; i < 8; ++i) w.codes[i] = spread_bits(signs[0] >> (4 * i) & 15);
    w.scale = float_of_f16(load_u16(shared, at));
    return w;
  }
  __device__ static float add(const Weights& w, const Input& x, int block, int part, float sum) {
    const int unit = block * 4 + part;
    const int whole = 2 * dot_32(w.codes, x.codes + unit * 32) - x.sums[unit];
    return fmaf(w.scale * x.scales[unit], static_cast<float>(whole), sum);
  }
};

}  // namespace sluice::kernels::cuda
