// IQ4_NL and IQ4_XS: 4-bit indices into a table of 16 signed values.
//
//   IQ4_NL   18 bytes, 32 values  | scale f16 | q 16                       | value = scale * table[q]
//   IQ4_XS  136 bytes, 256 values | scale f16 | high u16 | low 4 | q 128   | value = scale*(s - 32) * table[q]
//             groups of 32 values; s of group g: nibble g of `low`, and above it bits 2g and 2g+1 of `high`
//
// Each 16 bytes of q hold 32 values: 0 to 15 in the low nibbles, 16 to 31 in the high ones.
#if defined(__x86_64__)
#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/avx2/row_products.h"

namespace sluice::kernels::avx2 {
namespace {

SLUICE_AVX2_STEP __m256i look_up(__m256i nibbles) {
  const __m128i table = _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
  return _mm256_shuffle_epi8(_mm256_set_m128i(table, table), nibbles);
}

struct KernelIQ4NL {
  template <int N>
  static void multiply(const std::byte* row, int64_t n_columns, const reference::Activation32* const* x, float* out) {
    __m256 sums[N];
    for (int i = 0; i < N; ++i) sums[i] = _mm256_setzero_ps();
    for (int64_t b = 0; b < n_columns / 32; ++b, row += 18) {
      const float scale = load_half(row);
      const __m256i w = look_up(unpack_nibbles(row + 2));
      for (int i = 0; i < N; ++i) {
        const reference::Activation32& input = x[i][b];
        const __m256 dot = _mm256_cvtepi32_ps(dot_signed(w, load_bytes(input.q)));
        sums[i] = _mm256_fmadd_ps(_mm256_set1_ps(scale * input.scale), dot, sums[i]);
      }
    }
    for (int i = 0; i < N; ++i) out[i] = sum_lanes(sums[i]);
  }
};

struct KernelIQ4XS {
  template <int N>
  static void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x, float* out) {
    __m256 sums[N];
    for (int i = 0; i < N; ++i) sums[i] = _mm256_setzero_ps();
    for (int64_t b = 0; b < n_columns / 256; ++b, row += 136) {
      const float scale = load_half(row);
      uint16_t high;
      std::memcpy(&high, row + 2, sizeof high);
      const uint32_t low = load_u32(row + 4);
      __m256i dots[N];
      for (int i = 0; i < N; ++i) dots[i] = _mm256_setzero_si256();
      for (int g = 0; g < 8; ++g) {
        const int s = static_cast<int>((low >> (4 * g) & 15) | (static_cast<uint32_t>(high) >> (2 * g) & 3) << 4) - 32;
        const __m256i w = look_up(unpack_nibbles(row + 8 + 16 * g));
        const __m256i magnitude = _mm256_abs_epi8(w), group_scale = _mm256_set1_epi16(static_cast<int16_t>(s));
        for (int i = 0; i < N; ++i) {
          const __m256i q = _mm256_sign_epi8(load_bytes(x[i][b].q + 32 * g), w);
          dots[i] = _mm256_add_epi32(dots[i], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, q), group_scale));
        }
      }
      for (int i = 0; i < N; ++i)
        sums[i] = _mm256_fmadd_ps(_mm256_set1_ps(scale * x[i][b].scale), _mm256_cvtepi32_ps(dots[i]), sums[i]);
    }
    for (int i = 0; i < N; ++i) out[i] = sum_lanes(sums[i]);
  }
};

}  // namespace

void multiply_row_iq4_nl(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                         float* out) {
  for_inputs<KernelIQ4NL, reference::Activation32>(row, n_columns, inputs, n_inputs, out);
}
void multiply_row_iq4_xs(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                         float* out) {
  for_inputs<KernelIQ4XS, reference::Activation256>(row, n_columns, inputs, n_inputs, out);
}

}  // namespace sluice::kernels::avx2
#endif
