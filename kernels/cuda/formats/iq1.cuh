// IQ1_S  50 bytes, 256 values | scale f16 | q 32 | high u16 x 8 |
//          q[e] and 3 bits of high[e/4] at 3*(e%4): the 11-bit grid index of entry e (values 8e to 8e+7)
//          high[g] bits 12-14: s of values 32g to 32g+31; bit 15: delta is -1/8, else +1/8
//          value = scale*(2s + 1) * (grid + delta)
// IQ1_M  56 bytes, 256 values | q 32 | high 16 | scales u16 x 4 |
//          nibble e of `high`: 3 bits of the grid index above q[e]; its top bit is the sign of delta for these 8 values
//          scales[j] bits 0-11: s of values 64j + 16k at bit 3k; bits 12-15: nibble j of the f16 scale, lowest first
//          value = scale*(2s + 1) * (grid + delta)
//
// The table has a word for each point of the grid: byte i holds value i + 1 (0, 1 or 2) in its low nibble and value i + 4 + 1 in
// its high one, so that a lookup is one load and one masking for four values. With g = grid + 1,
//   8 * (grid + delta) = 8g - 8 +- 1     whole numbers; the eighth goes into the scale.
#pragma once

#include "kernels/cuda/formats/block256.cuh"
#include "kernels/cuda/formats/iq_tables.cuh"

namespace sluice::kernels::cuda {

struct FormatIQ1_S : FormatBlock256<50> {
  static constexpr int kTableBytes = sizeof kGridIq1 * 2;
  __device__ static void fill_table(uint32_t* table) { fill_grid_iq1(table); }

  struct Weights {
    uint32_t points[4];  // of the table
    uint32_t high;
    float scale;
  };
  __device__ static Weights take(const std::byte* shared, int at, int part, const uint32_t* table) {
    Weights w;
    uint32_t q[1];
    load_words(shared, at + 2 + part * 4, q);
    w.high = load_u16(shared, at + 34 + part * 2);
    w.scale = float_of_f16(load_u16(shared, at));
    w.points[0] = table[(q[0] & 0xFF) | (w.high << 8 & 0x700)];
    w.points[1] = table[(q[0] >> 8 & 0xFF) | (w.high << 5 & 0x700)];
    w.points[2] = table[(q[0] >> 16 & 0xFF) | (w.high << 2 & 0x700)];
    w.points[3] = table[q[0] >> 24 | (w.high >> 1 & 0x700)];
    return w;
  }
  __device__ static float add(const Weights& w, const Input& x, int block, int part, float sum) {
    const int8_t* codes = codes_of_part(x, block, part);
    int low = 0, high = 0;  // high: 16 times its values
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int4 c = *reinterpret_cast<const int4*>(codes + 16 * half);
      low = __dp4a(static_cast<int>(w.points[2 * half] & 0x0F0F0F0Fu), c.x, low);
      high = __dp4a(static_cast<int>(w.points[2 * half] & 0xF0F0F0F0u), c.y, high);
      low = __dp4a(static_cast<int>(w.points[2 * half + 1] & 0x0F0F0F0Fu), c.z, low);
      high = __dp4a(static_cast<int>(w.points[2 * half + 1] & 0xF0F0F0F0u), c.w, high);
    }
    const int offset = (w.high & 0x8000) != 0 ? -9 : -7;
    const int eight_times = 8 * low + (high >> 1) + offset * sum_of_part(x, block, part);
    const int whole = static_cast<int>((w.high >> 11 & 14) | 1) * eight_times;
    return fmaf(w.scale * 0.125f * x.scales[block], static_cast<float>(whole), sum);
  }
};

struct FormatIQ1_M : FormatBlock256<56> {
  static constexpr int kTableBytes = sizeof kGridIq1 * 2;
  __device__ static void fill_table(uint32_t* table) { fill_grid_iq1(table); }

  struct Weights {
    uint32_t points[4];
    uint32_t high;  // four nibbles
    int s0, s1;
    float scale;
  };
  __device__ static Weights take(const std::byte* shared, int at, int part, const uint32_t* table) {
    Weights w;
    uint32_t q[1], scales[2];
    load_words(shared, at + part * 4, q);
    load_words(shared, at + 48, scales);
    w.high = load_u16(shared, at + 32 + part * 2);
    w.points[0] = table[(q[0] & 0xFF) | (w.high << 8 & 0x700)];
    w.points[1] = table[(q[0] >> 8 & 0xFF) | (w.high << 4 & 0x700)];
    w.points[2] = table[(q[0] >> 16 & 0xFF) | (w.high & 0x700)];
    w.points[3] = table[q[0] >> 24 | (w.high >> 4 & 0x700)];
    w.scale = float_of_f16((scales[0] >> 12 & 0xF) | (scales[0] >> 24 & 0xF0) | (scales[1] >> 4 & 0xF00) |
                           (scales[1] >> 16 & 0xF000));
    const uint32_t own = (part < 4 ? scales[0] : scales[1]) >> (part / 2 % 2 * 16 + part % 2 * 6);
    w.s0 = static_cast<int>((own << 1 & 14) | 1);
    w.s1 = static_cast<int>((own >> 2 & 14) | 1);
    return w;
  }
  __device__ static float add(const Weights& w, const Input& x, int block, int part, float sum) {
    const int8_t* codes = codes_of_part(x, block, part);
    const TwoSums sums = sums_of_part(x, block, part);
    int dots[2];  // of 8g + 2 where delta is +1/8, of 8g where it is -1/8; from 0 to 18
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int4 c = *reinterpret_cast<const int4*>(codes + 16 * half);
      const uint32_t first = w.points[2 * half], second = w.points[2 * half + 1];
      const uint32_t first_delta = (w.high >> (8 * half) & 8) != 0 ? 0u : 0x02020202u;
      const uint32_t second_delta = (w.high >> (8 * half) & 0x80) != 0 ? 0u : 0x02020202u;
      int dot = __dp4a(static_cast<int>(((first & 0x0F0F0F0Fu) << 3) + first_delta), c.x, 0);
      dot = __dp4a(static_cast<int>((first >> 1 & 0x78787878u) + first_delta), c.y, dot);
      dot = __dp4a(static_cast<int>(((second & 0x0F0F0F0Fu) << 3) + second_delta), c.z, dot);
      dots[half] = __dp4a(static_cast<int>((second >> 1 & 0x78787878u) + second_delta), c.w, dot);
    }
    const int whole = w.s0 * (dots[0] - 9 * sums.first) + w.s1 * (dots[1] - 9 * sums.second);
    return fmaf(w.scale * 0.125f * x.scales[block], static_cast<float>(whole), sum);
  }
};

}  // namespace sluice::kernels::cuda
