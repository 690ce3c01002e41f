// IQ2_XS and IQ2_S: super-blocks of 256 values in 16 sub-blocks of 16; each 8 values are a point of a grid of magnitudes.
//
//   IQ2_XS  74 bytes | scale f16 | q u16 x 32 | scales 8 |
//             q: bits 0-8 the grid index of an entry, bits 9-15 its 7 bits of signs
//   IQ2_S   82 bytes | scale f16 | q 32 | signs 32 | high 8 | scales 8 |
//             bits 2*(e%4) and above of high[e/4] stand above q[e]; signs[e] has all 8 bits
//   value = scale*(2s + 1)/8 * magnitude * sign;  nibble j of `scales` is s of values 16j to 16j + 15
#if defined(__x86_64__)
#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/avx2/row_products.h"
#include "kernels/cpu/iq_tables.h"

namespace sluice::kernels::avx2 {
namespace {

template <bool kIsS>
struct KernelIQ2 {
  static constexpr int64_t kBlockBytes = kIsS ? 82 : 74;
  static constexpr int64_t kScalesAt = kBlockBytes - 8;

  template <int N>
  static void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x, float* out) {
    const IqTables& tables = iq_tables();
    __m256 sums[N];
    for (int i = 0; i < N; ++i) sums[i] = _mm256_setzero_ps();
    for (int64_t b = 0; b < n_columns / 256; ++b, row += kBlockBytes) {
      const float scale = load_half(row) * 0.125f;
      int16_t s[16];
      unpack_odd_scales(row + kScalesAt, s);
      __m256i dots[N];
      for (int i = 0; i < N; ++i) dots[i] = _mm256_setzero_si256();
      for (int g = 0; g < 8; ++g) {
        __m256i magnitudes, signs;
        if constexpr (kIsS) {
          const auto* q = reinterpret_cast<const uint8_t*>(row + 2 + 4 * g);
          const auto high = static_cast<uint32_t>(row[66 + g]);
          magnitudes = four_entries(tables.iq2_s[q[0] | (high << 8 & 0x300)], tables.iq2_s[q[1] | (high << 6 & 0x300)],
                                    tables.iq2_s[q[2] | (high << 4 & 0x300)], tables.iq2_s[q[3] | (high << 2 & 0x300)]);
          signs = signs_of_bits(load_u32(row + 34 + 4 * g));
        } else {
          uint16_t q[4];
          std::memcpy(q, row + 2 + 8 * g, sizeof q);
          magnitudes = four_entries(tables.iq2_xs[q[0] & 511], tables.iq2_xs[q[1] & 511], tables.iq2_xs[q[2] & 511],
                                    tables.iq2_xs[q[3] & 511]);
          signs = four_entries(tables.signs[q[0] >> 9], tables.signs[q[1] >> 9], tables.signs[q[2] >> 9],
                               tables.signs[q[3] >> 9]);
        }
        const __m256i group_scales = pair_of_scales(s + 2 * g);
        for (int i = 0; i < N; ++i) {
          const __m256i q8 = _mm256_sign_epi8(load_bytes(x[i][b].q + 32 * g), signs);
          dots[i] = _mm256_add_epi32(dots[i], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitudes, q8), group_scales));
        }
      }
      for (int i = 0; i < N; ++i)
        sums[i] = _mm256_fmadd_ps(_mm256_set1_ps(scale * x[i][b].scale), _mm256_cvtepi32_ps(dots[i]), sums[i]);
    }
    for (int i = 0; i < N; ++i) out[i] = sum_lanes(sums[i]);
  }
};

}  // namespace

void multiply_row_iq2_xs(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                         float* out) {
  for_inputs<KernelIQ2<false>, reference::Activation256>(row, n_columns, inputs, n_inputs, out);
}
void multiply_row_iq2_s(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                        float* out) {
  for_inputs<KernelIQ2<true>, reference::Activation256>(row, n_columns, inputs, n_inputs, out);
}

}  // namespace sluice::kernels::avx2
#endif
