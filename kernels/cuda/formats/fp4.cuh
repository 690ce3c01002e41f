// MXFP4  17 bytes, 32 values | scale e8m0 | q 16 |       value = 2^(e - 128) * table[q]
//          q: values 0 to 15 in the low nibbles, 16 to 31 in the high ones
// NVFP4  36 bytes, 64 values | scale ue4m3 x 4 | q 32 |  value = scale/2 * table[q]
//          16 values a scale, in 8 bytes of q: the first 8 in the low nibbles, the rest in the high ones
//
// The table holds twice the 4-bit floats (table16.cuh); kernels/reference/format_fp4.cc says what the scales mean. Blocks of MXFP4
// begin at any address.
#pragma once

#include "kernels/cuda/formats/block32.cuh"
#include "kernels/cuda/formats/fp4_scales.cuh"
#include "kernels/cuda/formats/table16.cuh"

namespace sluice::kernels::cuda {

struct FormatMXFP4 : FormatBlock32<17> {
  struct Weights {
    uint32_t codes[8];
    float scale;
  };
  __device__ static Weights take(const std::byte* shared, int at, int, const uint32_t*) {
    Weights w;
    uint32_t packed[4];
    load_words(shared, at + 1, packed);
#pragma unroll
    for (int i = 0; i < 4; ++i) look_up_nibbles(fp4_table(), packed[i], w.codes[i], w.codes[i + 4]);
    w.scale = half_of_e8m0(load_byte(shared, at));
    return w;
  }
  __device__ static float add(const Weights& w, const Input& x, int block, int, float sum) {
    // The scale may be so large or small that its product with the input's is not a float while the sum is.
    const float value = x.scales[block] * static_cast<float>(dot_32(w.codes, x.codes + block * 32));
    return fmaf(w.scale, value, sum);
  }
};

struct FormatNVFP4 : ReadsPer32 {
  static constexpr int kBlockValues = 64, kBlockBytes = 36, kUnitValues = 32, kUnitsABlock = 2;
  static constexpr int kTableBytes = 0, kUnroll = 1;

  struct Weights {
    uint32_t codes[8];
    float scale0, scale1;  // of 16 values each
  };
  __device__ static Weights take(const std::byte* shared, int at, int part, const uint32_t*) {
    Weights w;
    uint32_t packed[4];
    load_words(shared, at + 4 + part * 16, packed);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      look_up_nibbles(fp4_table(), packed[i], w.codes[i / 2 * 4 + i % 2], w.codes[i / 2 * 4 + i % 2 + 2]);
    const uint32_t scales = load_u16(shared, at + part * 2);
    w.scale0 = half_of_ue4m3(scales & 0xFF);
    w.scale1 = half_of_ue4m3(scales >> 8);
    return w;
  }
  __device__ static float add(const Weights& w, const Input& x, int block, int part, float sum) {
    const int unit = block * 2 + part;
    const int8_t* codes = x.codes + unit * 32;
    const float scale = x.scales[unit];
    sum = fmaf(w.scale0 * scale, static_cast<float>(dot_16(w.codes, codes, 0)), sum);
    return fmaf(w.scale1 * scale, static_cast<float>(dot_16(w.codes + 4, codes + 16, 0)), sum);
  }
};

}  // namespace sluice::kernels::cuda
