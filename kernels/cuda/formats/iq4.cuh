// IQ4_NL   18 bytes, 32 values  | scale f16 | q 16 |                       value = scale * table[q]
// IQ4_XS  136 bytes, 256 values | scale f16 | high u16 | low 4 | q 128 |   value = scale*(s - 32) * table[q]
//           groups of 32 values; s of group g: nibble g of `low`, and above it bits 2g and 2g+1 of `high`
//
// Each 16 bytes of q hold 32 values: 0 to 15 in the low nibbles, 16 to 31 in the high ones.
#pragma once

#include "kernels/cuda/formats/block256.cuh"
#include "kernels/cuda/formats/block32.cuh"
#include "kernels/cuda/formats/table16.cuh"

namespace sluice::kernels::cuda {

struct WeightsIQ4 {
  uint32_t codes[8];
  int s;
  float scale;
};

struct FormatIQ4_NL : FormatBlock32<18> {
  __device__ static WeightsIQ4 take(const std::byte* shared, int at, int, const uint32_t*) {
    WeightsIQ4 w;
    uint32_t packed[4];
    load_words(shared, at + 2, packed);
#pragma unroll
    for (int i = 0; i < 4; ++i) look_up_nibbles(iq4_table(), packed[i], w.codes[i], w.codes[i + 4]);
    w.scale = float_of_f16(load_u16(shared, at));
    return w;
  }
  __device__ static float add(const WeightsIQ4& w, const Input& x, int block, int, float sum) {
    const int whole = dot_32(w.codes, x.codes + block * 32);
    return fmaf(w.scale * x.scales[block], static_cast<float>(whole), sum);
  }
};

struct FormatIQ4_XS : FormatBlock256<136> {
  __device__ static WeightsIQ4 take(const std::byte* shared, int at, int part, const uint32_t*) {
    WeightsIQ4 w;
    uint32_t head[2], packed[4];
    load_words(shared, at, head);
    load_words(shared, at + 8 + part * 16, packed);
#pragma unroll
    for (int i = 0; i < 4; ++i) look_up_nibbles(iq4_table(), packed[i], w.codes[i], w.codes[i + 4]);
    w.s = static_cast<int>((head[1] >> (4 * part) & 15) | (head[0] >> (16 + 2 * part) & 3) << 4) - 32;
    w.scale = float_of_f16(head[0] & 0xFFFF);
    return w;
  }
  __device__ static float add(const WeightsIQ4& w, const Input& x, int block, int part, float sum) {
    const int whole = w.s * dot_32(w.codes, codes_of_part(x, block, part));
    return fmaf(w.scale * x.scales[block], static_cast<float>(whole), sum);
  }
};

}  // namespace sluice::kernels::cuda
