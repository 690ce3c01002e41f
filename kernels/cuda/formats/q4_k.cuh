// Q4_K  144 bytes, 256 values | scale f16 | min f16 | scales 12 | q 128 |   32 values: value = scale*s * q - min*m
//         value v: byte 32*(v/64) + v%32 of q, the nibble (v/32)%2
//         bytes 0-3 of `scales`: 6 bits of s 0-3, and above them the top 2 bits of s 4-7
//         bytes 4-7: 6 bits of m 0-3, and above them the top 2 bits of m 4-7
//         bytes 8-11: the low 4 bits of s 4-7 (low nibbles) and m 4-7 (high nibbles)
//
// Q5_K  176 bytes: the same with `high` 32 before q; value v: byte v%32 of high, bit v/32 is its fifth bit
//
// Lane `part` takes two runs of 16 bytes of q, both nibbles: half part%2 of sub-blocks 2*(part/2) and 2*(part/2) + 1, and the same
// four sub-blocks further. So neighbouring lanes read neighbouring codes of the input. Blocks lie at multiples of 16 (gemv.cuh).
#pragma once

#include "kernels/cuda/formats/block256.cuh"

namespace sluice::kernels::cuda {

template <int kBytes>
struct FormatQ45_K : FormatBlock256<kBytes, 4> {
  static constexpr bool kHasHigh = kBytes == 176;
  static constexpr int kHighShift = kHasHigh ? 0 : 4;  // codes of Q4_K's odd sub-blocks stay in their nibbles, times 16

  struct Run {
    uint32_t low[4], high[4];  // codes of the even and the odd sub-block
    uint32_t scales, mins;     // of both, a byte each
  };
  struct Weights {
    Run runs[2];
    uint32_t scale_and_min;  // f16 each
  };
  __device__ static Weights take(const std::byte* shared, int at, int part, const uint32_t*) {
    Weights w;
    uint32_t head[4], fifths[4] = {};
    load_quad(shared, at, head);
    if constexpr (kHasHigh) load_quad(shared, at + 16 + part % 2 * 16, fifths);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      uint32_t packed[4];
      load_quad(shared, at + kBytes - 128 + part * 16 + r * 64, packed);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const uint32_t two = fifths[i] >> (part / 2 * 2) >> (4 * r);
        w.runs[r].low[i] = (packed[i] & 0x0F0F0F0Fu) | (two & 0x01010101u) << 4;
        w.runs[r].high[i] =
            kHasHigh ? (packed[i] >> 4 & 0x0F0F0F0Fu) | (two & 0x02020202u) << 3 : packed[i] & 0xF0F0F0F0u;
      }
    }
    w.scale_and_min = head[0];
    const int shift = part / 2 * 16;
    const uint32_t s = head[1] >> shift, m = head[2] >> shift, low = head[3] >> shift;
    w.runs[0].scales = s & 0x3F3Fu;
    w.runs[0].mins = m & 0x3F3Fu;
    w.runs[1].scales = (low & 0x0F0Fu) | (s >> 2 & 0x3030u);
    w.runs[1].mins = (low >> 4 & 0x0F0Fu) | (m >> 2 & 0x3030u);
    return w;
  }
  __device__ static float add(const Weights& w, const Input& x, int block, int part, float sum) {
    const int first = part / 2 * 64 + part % 2 * 16;
    int whole = 0, whole_mins = 0;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const Run& run = w.runs[r];
      const int8_t* codes = x.codes + block * 256 + first + 128 * r;
      const int32_t* sums = x.sums + block * 16 + first / 16 + 8 * r;
      const int high = dot_16_unsigned(run.high, codes + 32, 0) >> kHighShift;
      whole += static_cast<int>(run.scales & 0xFF) * dot_16(run.low, codes, 0);
      whole += static_cast<int>(run.scales >> 8 & 0xFF) * high;
      whole_mins += static_cast<int>(run.mins & 0xFF) * sums[0] + static_cast<int>(run.mins >> 8 & 0xFF) * sums[2];
    }
    const float scale = x.scales[block];
    sum = fmaf(float_of_f16(w.scale_and_min & 0xFFFF) * scale, static_cast<float>(whole), sum);
    return fmaf(-float_of_f16(w.scale_and_min >> 16) * scale, static_cast<float>(whole_mins), sum);
  }
};
using FormatQ4_K = FormatQ45_K<144>;
using FormatQ5_K = FormatQ45_K<176>;

}  // namespace sluice::kernels::cuda
