// IQ1_S and IQ2_XXS: super-blocks of 256 values; each 8 values are one point of a grid.
//
//   IQ1_S    50 bytes | scale f16 | q 32 | high u16 x 8 |
//            group g of 32 values: entry l has the index q[4g + l] and 3 more bits of high[g] from bit 3l on;
//            s is bits 12-14 of high[g], delta is -1/8 where bit 15 is set, else 1/8
//            value = scale*(2s + 1) * (t + delta), t = -1, 0, 1
//   IQ2_XXS  66 bytes | scale f16 | 8 groups of 32 values: index u8 x 4, u32 |
//            u32: 7 bits of signs for each entry from bit 0 on, s in bits 28-31
//            value = scale*(2s + 1)/8 * magnitude * sign
//
// The table of IQ1_S holds t + 1, so that bytes multiply unsigned. With x summing to X over a group:
//   sum (t + delta) x = sum (t + 1) x + (delta - 1) X, and delta - 1 is -7/8 or -9/8.
#if defined(__x86_64__)
#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/avx2/row_products.h"
#include "kernels/cpu/iq_tables.h"

namespace sluice::kernels::avx2 {
namespace {

struct KernelIQ1S {
  template <int N>
  static void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x, float* out) {
    const uint64_t* grid = iq_tables().iq1;
    __m256 sums[N];
    float moved[N];
    for (int i = 0; i < N; ++i) sums[i] = _mm256_setzero_ps(), moved[i] = 0;
    for (int64_t b = 0; b < n_columns / 256; ++b, row += 50) {
      const float scale = load_half(row);
      const auto* q = reinterpret_cast<const uint8_t*>(row + 2);
      __m256i dots[N];
      int32_t eighths[N];  // of (delta - 1) X
      for (int i = 0; i < N; ++i) dots[i] = _mm256_setzero_si256(), eighths[i] = 0;
      for (int g = 0; g < 8; ++g) {
        uint16_t bits;
        std::memcpy(&bits, row + 34 + 2 * g, sizeof bits);
        const uint32_t high = bits;
        const __m256i t =
            four_entries(grid[q[4 * g] | (high << 8 & 0x700)], grid[q[4 * g + 1] | (high << 5 & 0x700)],
                         grid[q[4 * g + 2] | (high << 2 & 0x700)], grid[q[4 * g + 3] | (high >> 1 & 0x700)]);
        const auto s = static_cast<int16_t>(2 * (high >> 12 & 7) + 1);
        const int32_t delta = (high & 0x8000) != 0 ? -9 : -7;
        for (int i = 0; i < N; ++i) {
          const reference::Activation256& input = x[i][b];
          const __m256i pairs = _mm256_maddubs_epi16(t, load_bytes(input.q + 32 * g));
          dots[i] = _mm256_add_epi32(dots[i], _mm256_madd_epi16(pairs, _mm256_set1_epi16(s)));
          eighths[i] += s * delta * (input.sums[2 * g] + input.sums[2 * g + 1]);
        }
      }
      for (int i = 0; i < N; ++i) {
        const float both_scales = scale * x[i][b].scale;
        sums[i] = _mm256_fmadd_ps(_mm256_set1_ps(both_scales), _mm256_cvtepi32_ps(dots[i]), sums[i]);
        moved[i] += both_scales * 0.125f * static_cast<float>(eighths[i]);
      }
    }
    for (int i = 0; i < N; ++i) out[i] = sum_lanes(sums[i]) + moved[i];
  }
};

struct KernelIQ2XXS {
  template <int N>
  static void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x, float* out) {
    const IqTables& tables = iq_tables();
    __m256 sums[N];
    for (int i = 0; i < N; ++i) sums[i] = _mm256_setzero_ps();
    for (int64_t b = 0; b < n_columns / 256; ++b, row += 66) {
      const float scale = load_half(row) * 0.125f;
      __m256i dots[N];
      for (int i = 0; i < N; ++i) dots[i] = _mm256_setzero_si256();
      for (int g = 0; g < 8; ++g) {
        const auto* index = reinterpret_cast<const uint8_t*>(row + 2 + 8 * g);
        const uint32_t bits = load_u32(index + 4);
        const __m256i magnitudes = four_entries(tables.iq2_xxs[index[0]], tables.iq2_xxs[index[1]],
                                                tables.iq2_xxs[index[2]], tables.iq2_xxs[index[3]]);
        const __m256i signs = four_entries(tables.signs[bits & 127], tables.signs[bits >> 7 & 127],
                                           tables.signs[bits >> 14 & 127], tables.signs[bits >> 21 & 127]);
        const __m256i s = _mm256_set1_epi16(static_cast<int16_t>(2 * (bits >> 28) + 1));
        for (int i = 0; i < N; ++i) {
          const __m256i q = _mm256_sign_epi8(load_bytes(x[i][b].q + 32 * g), signs);
          dots[i] = _mm256_add_epi32(dots[i], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitudes, q), s));
        }
      }
      for (int i = 0; i < N; ++i)
        sums[i] = _mm256_fmadd_ps(_mm256_set1_ps(scale * x[i][b].scale), _mm256_cvtepi32_ps(dots[i]), sums[i]);
    }
    for (int i = 0; i < N; ++i) out[i] = sum_lanes(sums[i]);
  }
};

}  // namespace

void multiply_row_iq1_s(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                        float* out) {
  for_inputs<KernelIQ1S, reference::Activation256>(row, n_columns, inputs, n_inputs, out);
}
void multiply_row_iq2_xxs(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                          float* out) {
  for_inputs<KernelIQ2XXS, reference::Activation256>(row, n_columns, inputs, n_inputs, out);
}

}  // namespace sluice::kernels::avx2
#endif
