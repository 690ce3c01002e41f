// Q2_K and Q3_K: super-blocks of 256 values in 16 sub-blocks of 16.
//
//   Q2_K   84 bytes | scales 16 | q 64 | scale f16 | min f16 |    value = scale*s * q - min*m
//            s is the low nibble of a byte of `scales`, m the high one
//   Q3_K  110 bytes | high 32 | q 64 | scales 12 | scale f16 |    value = scale*(s - 32) * (q - 4)
//            bytes 0-7 of `scales`: low 4 bits of s 0-7 (low nibbles) and 8-15 (high nibbles)
//            bytes 8-11: byte j holds the top 2 bits of s j, j+4, j+8, j+12, lowest bits first
//
//   group k of 32 values: its 2 low bits are bits 2*(k%4) and above of bytes 32*(k/4) to 32*(k/4) + 31 of q; bit k of byte i of `high`
//   is the third bit of value i
#if defined(__x86_64__)
#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/avx2/row_products.h"

namespace sluice::kernels::avx2 {
namespace {

struct KernelQ2K {
  template <int N>
  static void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x, float* out) {
    __m256 sums[N], min_sums[N];
    for (int i = 0; i < N; ++i) sums[i] = min_sums[i] = _mm256_setzero_ps();
    for (int64_t b = 0; b < n_columns / 256; ++b, row += 84) {
      const float scale = load_half(row + 80), min = load_half(row + 82);
      const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row));
      const __m128i nibble = _mm_set1_epi8(15);
      const __m256i scales = _mm256_cvtepu8_epi16(_mm_and_si128(packed, nibble));
      const __m256i mins = _mm256_cvtepu8_epi16(_mm_and_si128(_mm_srli_epi16(packed, 4), nibble));
      int16_t s[16];
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(s), scales);

      __m256i dots[N];
      for (int i = 0; i < N; ++i) dots[i] = _mm256_setzero_si256();
      for (int half = 0; half < 2; ++half) {
        __m256i codes = load_bytes(row + 16 + 32 * half);
        for (int k = 4 * half; k < 4 * half + 4; ++k, codes = _mm256_srli_epi16(codes, 2)) {
          const __m256i q = _mm256_and_si256(codes, _mm256_set1_epi8(3));
          const __m256i group_scales = pair_of_scales(s + 2 * k);
          for (int i = 0; i < N; ++i) {
            const __m256i pairs = _mm256_maddubs_epi16(q, load_bytes(x[i][b].q + 32 * k));
            dots[i] = _mm256_add_epi32(dots[i], _mm256_madd_epi16(pairs, group_scales));
          }
        }
      }
      for (int i = 0; i < N; ++i) {
        const reference::Activation256& input = x[i][b];
        sums[i] = _mm256_fmadd_ps(_mm256_set1_ps(scale * input.scale), _mm256_cvtepi32_ps(dots[i]), sums[i]);
        const __m256i min_dots = _mm256_madd_epi16(mins, load_bytes(input.sums));
        min_sums[i] = _mm256_fmadd_ps(_mm256_set1_ps(min * input.scale), _mm256_cvtepi32_ps(min_dots), min_sums[i]);
      }
    }
    for (int i = 0; i < N; ++i) out[i] = sum_lanes(sums[i]) - sum_lanes(min_sums[i]);
  }
};

struct KernelQ3K {
  template <int N>
  static void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x, float* out) {
    __m256 sums[N];
    for (int i = 0; i < N; ++i) sums[i] = _mm256_setzero_ps();
    for (int64_t b = 0; b < n_columns / 256; ++b, row += 110) {
      const float scale = load_half(row + 108);
      const uint32_t low0 = load_u32(row + 96), low1 = load_u32(row + 100), top = load_u32(row + 104);
      const auto four = [top](uint32_t low,
                              int shift) {  // four scales: their low nibbles, and bits of `top` above them
        return static_cast<int>((low & 0x0F0F0F0F) | (top >> shift & 0x03030303) << 4);
      };
      const __m256i scales = _mm256_sub_epi16(
          _mm256_cvtepu8_epi16(_mm_set_epi32(four(low1 >> 4, 6), four(low0 >> 4, 4), four(low1, 2), four(low0, 0))),
          _mm256_set1_epi16(32));
      int16_t s[16];
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(s), scales);

      // The -4 of every code, times the sums of the activations.
      __m256i dots[N];
      for (int i = 0; i < N; ++i)
        dots[i] = _mm256_sub_epi32(_mm256_setzero_si256(),
                                   _mm256_slli_epi32(_mm256_madd_epi16(scales, load_bytes(x[i][b].sums)), 2));
      __m256i high = load_bytes(row);
      for (int half = 0; half < 2; ++half) {
        __m256i codes = load_bytes(row + 32 + 32 * half);
        for (int k = 4 * half; k < 4 * half + 4; ++k) {
          const __m256i third = _mm256_slli_epi16(_mm256_and_si256(high, _mm256_set1_epi8(1)), 2);
          const __m256i q = _mm256_or_si256(_mm256_and_si256(codes, _mm256_set1_epi8(3)), third);
          const __m256i group_scales = pair_of_scales(s + 2 * k);
          for (int i = 0; i < N; ++i) {
            const __m256i pairs = _mm256_maddubs_epi16(q, load_bytes(x[i][b].q + 32 * k));
            dots[i] = _mm256_add_epi32(dots[i], _mm256_madd_epi16(pairs, group_scales));
          }
          codes = _mm256_srli_epi16(codes, 2);
          high = _mm256_srli_epi16(high, 1);
        }
      }
      for (int i = 0; i < N; ++i)
        sums[i] = _mm256_fmadd_ps(_mm256_set1_ps(scale * x[i][b].scale), _mm256_cvtepi32_ps(dots[i]), sums[i]);
    }
    for (int i = 0; i < N; ++i) out[i] = sum_lanes(sums[i]);
  }
};

}  // namespace

void multiply_row_q2_k(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                       float* out) {
  for_inputs<KernelQ2K, reference::Activation256>(row, n_columns, inputs, n_inputs, out);
}
void multiply_row_q3_k(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                       float* out) {
  for_inputs<KernelQ3K, reference::Activation256>(row, n_columns, inputs, n_inputs, out);
}

}  // namespace sluice::kernels::avx2
#endif
