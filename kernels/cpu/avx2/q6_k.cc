// Q6_K: super-blocks of 256 values in 16 sub-blocks of 16, value = scale*s * (q - 32).
//
//   210 bytes | q 128 | high 64 | s i8 x 16 | scale f16 |
//
//   Each half of 128 values is four groups of 32: group g has its low 4 bits in bytes 32*(g%2).. of the half's 64 bytes
//   of q (low nibbles for g < 2, high ones after), and its top 2 bits in bits 2g and 2g + 1 of the half's 32 bytes of
//   `high`.
#if defined(__x86_64__)
#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/avx2/row_products.h"

namespace sluice::kernels::avx2 {
namespace {

struct KernelQ6K {
  static constexpr int64_t kHighAt = 128, kScalesAt = 192, kScaleAt = 208, kBlockBytes = 210;

  template <int N>
  static void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x, float* out) {
    const __m256i low_nibble = _mm256_set1_epi8(15), top_bits = _mm256_set1_epi8(48);
    __m256 sums[N];
    for (int i = 0; i < N; ++i) sums[i] = _mm256_setzero_ps();
    for (int64_t b = 0; b < n_columns / 256; ++b, row += kBlockBytes) {
      const float scale = load_half(row + kScaleAt);
      const __m256i scales = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + kScalesAt)));
      int16_t s[16];
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(s), scales);

      // The -32 of every code, times the sums of the activations.
      __m256i dots[N];
      for (int i = 0; i < N; ++i)
        dots[i] = _mm256_sub_epi32(_mm256_setzero_si256(),
                                   _mm256_slli_epi32(_mm256_madd_epi16(scales, load_bytes(x[i][b].sums)), 5));
      for (int half = 0; half < 2; ++half) {
        const __m256i high = load_bytes(row + kHighAt + 32 * half);
        const __m256i low0 = load_bytes(row + 64 * half), low1 = load_bytes(row + 64 * half + 32);
        const __m256i codes[4] = {
            _mm256_or_si256(_mm256_and_si256(low0, low_nibble), _mm256_and_si256(_mm256_slli_epi16(high, 4), top_bits)),
            _mm256_or_si256(_mm256_and_si256(low1, low_nibble), _mm256_and_si256(_mm256_slli_epi16(high, 2), top_bits)),
            _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(low0, 4), low_nibble), _mm256_and_si256(high, top_bits)),
            _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(low1, 4), low_nibble),
                            _mm256_and_si256(_mm256_srli_epi16(high, 2), top_bits))};
        for (int g = 0; g < 4; ++g) {
          const __m256i group_scales = pair_of_scales(s + 8 * half + 2 * g);
          for (int i = 0; i < N; ++i) {
            const __m256i q = load_bytes(x[i][b].q + 128 * half + 32 * g);
            dots[i] = _mm256_add_epi32(dots[i], _mm256_madd_epi16(_mm256_maddubs_epi16(codes[g], q), group_scales));
          }
        }
      }
      for (int i = 0; i < N; ++i)
        sums[i] = _mm256_fmadd_ps(_mm256_set1_ps(scale * x[i][b].scale), _mm256_cvtepi32_ps(dots[i]), sums[i]);
    }
    for (int i = 0; i < N; ++i) out[i] = sum_lanes(sums[i]);
  }
};

}  // namespace

void multiply_row_q6_k(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                       float* out) {
  for_inputs<KernelQ6K, reference::Activation256>(row, n_columns, inputs, n_inputs, out);
}

}  // namespace sluice::kernels::avx2
#endif
