// IQ3_XXS   98 bytes, 256 values | scale f16 | q 64 | u32 x 8 |
//             q[e]: the grid index of values 4e to 4e+3
//             u32 of values 32g to 32g+31: 7 bits of signs for each 8 values from bit 0 on, s in bits 28-31
//             value = scale*(s + 1/2)/2 * grid * sign
// IQ3_S    110 bytes, 256 values | scale f16 | q 64 | high 8 | signs 32 | scales 4 |
//             bit e of `high` stands above q[e]; bit v of `signs` is the sign of value v
//             nibble g of `scales` is s of values 32g to 32g+31
//             value = scale*(2s + 1) * grid * sign
//
// A set sign bit is minus. The table has a word, four magnitudes, for each point of the grid.
#pragma once

#include "kernels/cuda/formats/block256.cuh"
#include "kernels/cuda/formats/iq_tables.cuh"
#include "kernels/cuda/formats/signed_grid.cuh"

namespace sluice::kernels::cuda {

struct WeightsIQ3 {
  uint32_t magnitudes[8];
  uint32_t signs;
  int s;  // 2s + 1
  float scale;
};

template <int kBytes>
struct FormatIQ3 : FormatBlock256<kBytes> {
  using Weights = WeightsIQ3;
  __device__ static float add(const Weights& w, const Input& x, int block, int part, float sum) {
    const int8_t* codes = codes_of_part(x, block, part);
    const int whole = w.s * (dot_16_signed(w.magnitudes, w.signs, codes) +
                             dot_16_signed(w.magnitudes + 4, w.signs >> 16, codes + 16));
    return fmaf(w.scale * x.scales[block], static_cast<float>(whole), sum);
  }
};

struct FormatIQ3_XXS : FormatIQ3<98> {
  static constexpr int kTableBytes = sizeof kGridIq3Xxs * 2;
  __device__ static void fill_table(uint32_t* table) { fill_grid_iq3_xxs(table); }

  __device__ static Weights take(const std::byte* shared, int at, int part, const uint32_t* table) {
    Weights w;
    uint32_t q[2], signs_and_scale[1];
    load_words(shared, at + 2 + part * 8, q);
    load_words(shared, at + 66 + part * 4, signs_and_scale);
#pragma unroll
    for (int entry = 0; entry < 8; ++entry) w.magnitudes[entry] = table[q[entry / 4] >> (entry % 4 * 8) & 0xFF];
    w.signs = 0;
#pragma unroll
    for (int eight = 0; eight < 4; ++eight)
      w.signs |= eight_signs(signs_and_scale[0] >> (7 * eight) & 127) << (8 * eight);
    w.s = static_cast<int>(signs_and_scale[0] >> 28) * 2 + 1;
    w.scale = float_of_f16(load_u16(shared, at)) * 0.25f;
    return w;
  }
};

struct FormatIQ3_S : FormatIQ3<110> {
  static constexpr int kTableBytes = sizeof kGridIq3S * 2;
  __device__ static void fill_table(uint32_t* table) { fill_grid_iq3_s(table); }

  __device__ static Weights take(const std::byte* shared, int at, int part, const uint32_t* table) {
    Weights w;
    uint32_t q[2], signs[1];
    load_words(shared, at + 2 + part * 8, q);
    load_words(shared, at + 74 + part * 4, signs);
    const uint32_t high = load_byte(shared, at + 66 + part);
#pragma unroll
    for (int entry = 0; entry < 8; ++entry)
      w.magnitudes[entry] = table[(q[entry / 4] >> (entry % 4 * 8) & 0xFF) | (high >> entry & 1) << 8];
    w.signs = signs[0];
    w.s = static_cast<int>(load_byte(shared, at + 106 + part / 2) >> (part % 2 * 4) & 15) * 2 + 1;
    w.scale = float_of_f16(load_u16(shared, at));
    return w;
  }
};

}  // namespace sluice::kernels::cuda
