// IQ3_XXS and IQ3_S: super-blocks of 256 values; each 4 values are a point of a grid of magnitudes, with signs apart.
//
//   IQ3_XXS   98 bytes | scale f16 | q 64 | u32 x 8 |
//               q[e]: the grid index of values 4e to 4e + 3
//               u32 of group g of 32 values: 7 bits of signs for each 8 values from bit 0 on, s in bits 28-31
//               value = scale*(2s + 1)/4 * magnitude * sign
//   IQ3_S    110 bytes | scale f16 | q 64 | high 8 | signs 32 | scales 4 |
//               bit e of `high` stands above q[e]; bit v of `signs` is the sign of value v; nibble g of `scales` is s
//               value = scale*(2s + 1) * magnitude * sign
#if defined(__x86_64__)
#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/avx2/row_products.h"
#include "kernels/cpu/iq_tables.h"

namespace sluice::kernels::avx2 {
namespace {

// Eight grid entries of four bytes each; `high` has the ninth bit of each index.
SLUICE_AVX2_STEP __m256i eight_entries(const uint32_t* grid, const uint8_t* q, uint32_t high) {
  const auto entry = [&](int e) { return static_cast<int>(grid[q[e] | (high << (8 - e) & 0x100)]); };
  return _mm256_setr_epi32(entry(0), entry(1), entry(2), entry(3), entry(4), entry(5), entry(6), entry(7));
}

template <bool kIsS>
struct KernelIQ3 {
  static constexpr int64_t kBlockBytes = kIsS ? 110 : 98;

  template <int N>
  static void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x, float* out) {
    const IqTables& tables = iq_tables();
    __m256 sums[N];
    for (int i = 0; i < N; ++i) sums[i] = _mm256_setzero_ps();
    for (int64_t b = 0; b < n_columns / 256; ++b, row += kBlockBytes) {
      const float scale = load_half(row) * (kIsS ? 1.0f : 0.25f);
      __m256i dots[N];
      for (int i = 0; i < N; ++i) dots[i] = _mm256_setzero_si256();
      for (int g = 0; g < 8; ++g) {
        const auto* q = reinterpret_cast<const uint8_t*>(row + 2 + 8 * g);
        __m256i magnitudes, signs;
        uint32_t s;
        if constexpr (kIsS) {
          magnitudes = eight_entries(tables.iq3_s, q, static_cast<uint32_t>(row[66 + g]));
          signs = signs_of_bits(load_u32(row + 74 + 4 * g));
          s = static_cast<uint32_t>(row[106 + g / 2]) >> (4 * (g % 2)) & 15;
        } else {
          const uint32_t bits = load_u32(row + 66 + 4 * g);
          magnitudes = eight_entries(tables.iq3_xxs, q, 0);
          signs = four_entries(tables.signs[bits & 127], tables.signs[bits >> 7 & 127], tables.signs[bits >> 14 & 127],
                               tables.signs[bits >> 21 & 127]);
          s = bits >> 28;
        }
        const __m256i group_scale = _mm256_set1_epi16(static_cast<int16_t>(2 * s + 1));
        for (int i = 0; i < N; ++i) {
          const __m256i q8 = _mm256_sign_epi8(load_bytes(x[i][b].q + 32 * g), signs);
          dots[i] = _mm256_add_epi32(dots[i], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitudes, q8), group_scale));
        }
      }
      for (int i = 0; i < N; ++i)
        sums[i] = _mm256_fmadd_ps(_mm256_set1_ps(scale * x[i][b].scale), _mm256_cvtepi32_ps(dots[i]), sums[i]);
    }
    for (int i = 0; i < N; ++i) out[i] = sum_lanes(sums[i]);
  }
};

}  // namespace

void multiply_row_iq3_xxs(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                          float* out) {
  for_inputs<KernelIQ3<false>, reference::Activation256>(row, n_columns, inputs, n_inputs, out);
}
void multiply_row_iq3_s(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                        float* out) {
  for_inputs<KernelIQ3<true>, reference::Activation256>(row, n_columns, inputs, n_inputs, out);
}

}  // namespace sluice::kernels::avx2
#endif
