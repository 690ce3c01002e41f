// IQ2_XXS  66 bytes, 256 values | scale f16 | groups of 32 values: 8 x { index u8 x 4, u32 } |
//            u32: 7 bits of signs for each of the 4 entries from bit 0 on, s in bits 28-31
// IQ2_XS   74 bytes, 256 values | scale f16 | q u16 x 32 | scales 8 |
//            q: bits 0-8 the grid index, bits 9-15 the 7 bits of signs; scales: nibble j is s of values 16j to 16j+15
// IQ2_S    82 bytes, 256 values | scale f16 | q 32 | signs 32 | high 8 | scales 8 |
//            2 bits of high[e/4] at 2*(e%4) stand above q[e]; signs has all 8 bits; scales as in IQ2_XS
//
// value = scale*(s + 1/2)/4 * grid * sign = scale/8 * (2s + 1) * grid * sign; a set bit is minus. The table has two words, eight
// magnitudes, for each point of the grid.
#pragma once

#include "kernels/cuda/formats/block256.cuh"
#include "kernels/cuda/formats/iq_tables.cuh"
#include "kernels/cuda/formats/signed_grid.cuh"

namespace sluice::kernels::cuda {

struct WeightsIQ2 {
  uint32_t magnitudes[8];
  uint32_t signs;
  int s0, s1;  // 2s + 1 of the two halves
  float scale;
};

template <int kBytes>
struct FormatIQ2 : FormatBlock256<kBytes> {
  using Weights = WeightsIQ2;
  __device__ static void look_up(const uint32_t* table, int entry, uint32_t index, Weights& w) {
    const uint2 point = reinterpret_cast<const uint2*>(table)[index];
    w.magnitudes[2 * entry] = point.x;
    w.magnitudes[2 * entry + 1] = point.y;
  }
  __device__ static float add(const Weights& w, const Input& x, int block, int part, float sum) {
    const int8_t* codes = codes_of_part(x, block, part);
    const int whole = w.s0 * dot_16_signed(w.magnitudes, w.signs, codes) +
                      w.s1 * dot_16_signed(w.magnitudes + 4, w.signs >> 16, codes + 16);
    return fmaf(w.scale * 0.125f * x.scales[block], static_cast<float>(whole), sum);
  }
};

struct FormatIQ2_XXS : FormatIQ2<66> {
  static constexpr int kTableBytes = sizeof kGridIq2Xxs * 4;
  __device__ static void fill_table(uint32_t* table) { fill_grid_iq2(kGridIq2Xxs, table); }

  __device__ static Weights take(const std::byte* shared, int at, int part, const uint32_t* table) {
    Weights w;
    uint32_t group[2];
    load_words(shared, at + 2 + part * 8, group);
    w.signs = 0;
#pragma unroll
    for (int entry = 0; entry < 4; ++entry) {
      look_up(table, entry, group[0] >> (8 * entry) & 0xFF, w);
      w.signs |= eight_signs(group[1] >> (7 * entry) & 127) << (8 * entry);
    }
    w.s0 = w.s1 = static_cast<int>(group[1] >> 28) * 2 + 1;
    w.scale = float_of_f16(load_u16(shared, at));
    return w;
  }
};

struct FormatIQ2_XS : FormatIQ2<74> {
  static constexpr int kTableBytes = sizeof kGridIq2Xs * 4;
  __device__ static void fill_table(uint32_t* table) { fill_grid_iq2(kGridIq2Xs, table); }

  __device__ static Weights take(const std::byte* shared, int at, int part, const uint32_t* table) {
    Weights w;
    uint32_t q[2];
    load_words(shared, at + 2 + part * 8, q);
    w.signs = 0;
#pragma unroll
    for (int entry = 0; entry < 4; ++entry) {
      const uint32_t own = q[entry / 2] >> (entry % 2 * 16);
      look_up(table, entry, own & 511, w);
      w.signs |= eight_signs(own >> 9 & 127) << (8 * entry);
    }
    const uint32_t s = load_byte(shared, at + 66 + part);
    w.s0 = static_cast<int>(s & 15) * 2 + 1;
    w.s1 = static_cast<int>(s >> 4) * 2 + 1;
    w.scale = float_of_f16(load_u16(shared, at));
    return w;
  }
};

struct FormatIQ2_S : FormatIQ2<82> {
  static constexpr int kTableBytes = sizeof kGridIq2S * 4;
  __device__ static void fill_table(uint32_t* table) { fill_grid_iq2(kGridIq2S, table); }

  __device__ static Weights take(const std::byte* shared, int at, int part, const uint32_t* table) {
    Weights w;
    uint32_t q[1], signs[1];
    load_words(shared, at + 2 + part * 4, q);
    load_words(shared, at + 34 + part * 4, signs);
    const uint32_t high = load_byte(shared, at + 66 + part), s = load_byte(shared, at + 74 + part);
#pragma unroll
    for (int entry = 0; entry < 4; ++entry)
      look_up(table, entry, (q[0] >> (8 * entry) & 0xFF) | (high >> (2 * entry) & 3) << 8, w);
    w.signs = signs[0];
    w.s0 = static_cast<int>(s & 15) * 2 + 1;
    w.s1 = static_cast<int>(s >> 4) * 2 + 1;
    w.scale = float_of_f16(load_u16(shared, at));
    return w;
  }
};

}  // namespace sluice::kernels::cuda
