// TQ1_0  54 bytes, 256 values | q 48 | high 4 | scale f16 |   value = scale * (t - 1), t in {0,1,2}
//          A byte holds a fraction of 256 whose digits in base 3 are the values: digit k is (uint8(byte * 3^k) * 3) >> 8
//          values   0-159: digit v/32 of q[v%32]
//          values 160-239: digit (v-160)/16 of q[32 + (v-160)%16]
//          values 240-255: digit (v-240)/4 of high[(v-240)%4]
// TQ2_0  66 bytes, 256 values | q 64 | scale f16 |            the same, t is 2 bits (3 is allowed and means 2*scale)
//          value v: byte 32*(v/128) + v%32, the pair of bits (v/32)%4
#pragma once

#include "kernels/cuda/formats/block256.cuh"

namespace sluice::kernels::cuda {

struct WeightsTernary {
  uint32_t codes[8];
  float scale;
};

template <int kBytes>
struct FormatTernary : FormatBlock256<kBytes> {
  __device__ static float add(const WeightsTernary& w, const Input& x, int block, int part, float sum) {
    const int whole = dot_32(w.codes, codes_of_part(x, block, part)) - sum_of_part(x, block, part);
    return fmaf(w.scale * x.scales[block], static_cast<float>(whole), sum);
  }
};

struct FormatTQ2_0 : FormatTernary<66> {
  __device__ static WeightsTernary take(const std::byte* shared, int at, int part, const uint32_t*) {
    WeightsTernary w;
    load_words(shared, at + part / 4 * 32, w.codes);
#pragma unroll
    for (int i = 0; i < 8; ++i) w.codes[i] = w.codes[i] >> (part % 4 * 2) & 0x03030303u;
    w.scale = float_of_f16(load_u16(shared, at + 64));
    return w;
  }
};

struct FormatTQ1_0 : FormatTernary<54> {
  __device__ static uint32_t power_of_3(int digit) { return digit < 4 ? 0x1B090301u >> (8 * digit) & 0xFF : 81; }

  // One digit of each of four bytes.
  __device__ static uint32_t digits(uint32_t bytes, uint32_t power) {
    const uint32_t even = ((bytes & 0x00FF00FFu) * power & 0x00FF00FFu) * 3 >> 8 & 0x00030003u;
    const uint32_t odd = ((bytes >> 8 & 0x00FF00FFu) * power & 0x00FF00FFu) * 3 & 0x03000300u;
    return even | odd;
  }

  __device__ static WeightsTernary take(const std::byte* shared, int at, int part, const uint32_t*) {
    WeightsTernary w;
    // Parts 0 to 4 are a digit of 32 bytes each, 5 and 6 two digits of the next 16, 7 the last digit of these and four of `high`.
    uint32_t first[4], second[4];
    load_words(shared, at + (part < 5 ? 0 : 32), first);
    load_words(shared, at + (part < 5 ? 16 : 32), second);
    uint32_t high[1];
    load_words(shared, at + 48, high);
    const int first_digit = part < 5 ? part : part * 2 - 10;
    const uint32_t first_power = power_of_3(first_digit);
    const uint32_t second_power = power_of_3(part < 5 ? first_digit : first_digit + 1);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      w.codes[i] = digits(first[i], first_power);
      w.codes[i + 4] = digits(part == 7 ? high[0] : second[i], part == 7 ? power_of_3(i) : second_power);
    }
    w.scale = float_of_f16(load_u16(shared, at + 52));
    return w;
  }
};

}  // namespace sluice::kernels::cuda
