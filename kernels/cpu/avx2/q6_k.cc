// Q6_K: super-blocks of 256 values in 16 sub-blocks of 16, value = scale*s * (q - 32).
//
//   210 bytes | q 128 | high 64 | s i8 x 16 | scale f16 |
//
//   Each half of 128 values is four groups of 32: group g has its low 4 bits in bytes 32*(g%2).. of the half's 64 bytes
//   of q (low nibbles for g < 2, high ones after), and its top 2 bits in bits 2g and 2g + 1 of the half's 32 bytes of
//   `high`.
#if defined(__x86_64__)
#include "kernels/cpu/avx2/formats.h"
#include "kernels/cpu/avx2/integer_dot.h"

namespace sluice::kernels::avx2 {
namespace {

struct KernelQ6K {
  static constexpr int64_t kHighAt = 128, kScalesAt = 192, kScaleAt = 208, kBlockBytes = 210;

  SLUICE_AVX2_STEP __m256i unpack_scales(const std::byte* block) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block + kScalesAt)));
  }

  // The codes of the four groups of a half.
  SLUICE_AVX2_STEP void unpack_half(const std::byte* block, int half, __m256i* codes) {
    const __m256i low_nibble = _mm256_set1_epi8(15), top_bits = _mm256_set1_epi8(48);
    const __m256i high = load_bytes(block + kHighAt + 32 * half);
    const __m256i low0 = load_bytes(block + 64 * half), low1 = load_bytes(block + 64 * half + 32);
    const auto join = [&](__m256i low, __m256i top) __attribute__((always_inline)) {
      return _mm256_or_si256(_mm256_and_si256(low, low_nibble), _mm256_and_si256(top, top_bits));
    };
    codes[0] = join(low0, _mm256_slli_epi16(high, 4));
    codes[1] = join(low1, _mm256_slli_epi16(high, 2));
    codes[2] = join(_mm256_srli_epi16(low0, 4), high);
    codes[3] = join(_mm256_srli_epi16(low1, 4), _mm256_srli_epi16(high, 2));
  }

  template <int N>
  SLUICE_AVX2_STEP void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x,
                                 __m128* sums) {
    for (int64_t b = 0; b < n_columns / 256; ++b, row += kBlockBytes) {
      prefetch_ahead<kBlockBytes>(row);
      const float scale = load_half(row + kScaleAt);
      const __m256i scales = unpack_scales(row);
      const SixteenScales spread = spread_sixteen(scales);
      // The -32 of every code, times the sums of the activations.
      __m256i dots[N];
      for (int i = 0; i < N; ++i)
        dots[i] = _mm256_sub_epi32(_mm256_setzero_si256(),
                                   _mm256_slli_epi32(_mm256_madd_epi16(scales, load_bytes(x[i][b].sums)), 5));
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        __m256i codes[4];
        unpack_half(row, half, codes);
#pragma GCC unroll 4
        for (int g = 0; g < 4; ++g) {
          const __m256i group_scales = pair_of_scales(spread, 4 * half + g);
          for (int i = 0; i < N; ++i) {
            const __m256i q = load_bytes(x[i][b].q + 128 * half + 32 * g);
            dots[i] = _mm256_add_epi32(dots[i], _mm256_madd_epi16(_mm256_maddubs_epi16(codes[g], q), group_scales));
          }
        }
      }
      for (int i = 0; i < N; ++i) add_block(sums[i], scale * x[i][b].scale, dots[i]);
    }
  }
};

}  // namespace

void multiply_q6_k(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                   float* out) {
  for_rows<KernelQ6K>(rows, n_columns, inputs, n_inputs, out);
}

void unpack_q6_k(const std::byte* block, int64_t, CodedValues& coded) {
  coded.scale[0] = load_half(block + KernelQ6K::kScaleAt);
  const __m256i scales = KernelQ6K::unpack_scales(block);
  _mm256_store_si256(reinterpret_cast<__m256i*>(coded.group_scales), scales);
  _mm256_store_si256(reinterpret_cast<__m256i*>(coded.group_mins), _mm256_slli_epi16(scales, 5));
  for (int half = 0; half < 2; ++half) {
    __m256i codes[4];
    KernelQ6K::unpack_half(block, half, codes);
    for (int g = 0; g < 4; ++g) store_codes(coded, 4 * half + g, codes[g]);
  }
}

}  // namespace sluice::kernels::avx2
#endif
