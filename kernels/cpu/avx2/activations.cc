// The 8-bit forms of activations; the bits are those of kernels/reference/activations.cc.
#if defined(__x86_64__)
#include <immintrin.h>

#include "kernels/cpu/avx2/row_operations.h"

namespace sluice::kernels::avx2 {
namespace {

#define SLUICE_INLINE inline __attribute__((always_inline))

constexpr int32_t kInfinityBits = 0x7F800000;

// The bits of the largest magnitude of n values: floats without a sign have the order of whole numbers, and infinities
// and NaNs are the largest of them.
SLUICE_INLINE int32_t largest_magnitude_bits(const float* values, int n) {
  const __m256i no_sign = _mm256_set1_epi32(0x7FFFFFFF);
  __m256i a = _mm256_setzero_si256(), b = a;
  for (int i = 0; i < n; i += 16) {
    a = _mm256_max_epi32(a, _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(values + i)), no_sign));
    b = _mm256_max_epi32(b, _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(values + i + 8)), no_sign));
  }
  a = _mm256_max_epi32(a, b);
  __m128i largest = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  largest = _mm_max_epi32(largest, _mm_shuffle_epi32(largest, _MM_SHUFFLE(1, 0, 3, 2)));
  largest = _mm_max_epi32(largest, _mm_shuffle_epi32(largest, _MM_SHUFFLE(2, 3, 0, 1)));
  return _mm_cvtsi128_si32(largest);
}

SLUICE_INLINE float as_float(int32_t bits) {
  return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(bits)));
}

// 32 values times `inverse` to the nearest whole numbers, halves to even.
SLUICE_INLINE __m256i round_32(const float* values, __m256 inverse) {
  __m256i whole[4];
  for (int i = 0; i < 4; ++i) whole[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(values + 8 * i), inverse));
  // Packing works in halves of 128 bits; the permutation puts groups of four back in order.
  const __m256i packed =
      _mm256_packs_epi16(_mm256_packs_epi32(whole[0], whole[1]), _mm256_packs_epi32(whole[2], whole[3]));
  return _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

// The sums of the first and the last 16 of 32 bytes, in lanes 0 and 4 of 32 bits (and half-way in others).
SLUICE_INLINE __m256i sums_of_16(__m256i q) {
  const __m256i offset = _mm256_set1_epi8(-128);  // q + 128 as unsigned bytes
  const __m256i sums = _mm256_sad_epu8(_mm256_xor_si256(q, offset), _mm256_setzero_si256());
  return _mm256_sub_epi32(_mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, _MM_SHUFFLE(1, 0, 3, 2))),
                          _mm256_set1_epi32(16 * 128));
}

}  // namespace

bool quantize_per32(const float* values, int64_t n_values, reference::Activation32* blocks) {
  for (int64_t b = 0; b < n_values / 32; ++b, values += 32) {
    reference::Activation32& block = blocks[b];
    const int32_t bits = largest_magnitude_bits(values, 32);
    if (bits >= kInfinityBits) return false;
    const float amax = as_float(bits), inverse = 127 / amax;
    if (!(inverse <= 3.40282347e+38f)) {
      block = reference::Activation32{};
      continue;
    }
    const __m256i q = round_32(values, _mm256_set1_ps(inverse));
    const __m256i sums = sums_of_16(q);
    block.scale = amax / 127;
    block.sum = _mm256_extract_epi32(sums, 0) + _mm256_extract_epi32(sums, 4);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(block.q), q);
  }
  return true;
}

bool quantize_per256(const float* values, int64_t n_values, reference::Activation256* blocks) {
  for (int64_t b = 0; b < n_values / 256; ++b, values += 256) {
    reference::Activation256& block = blocks[b];
    const int32_t bits = largest_magnitude_bits(values, 256);
    if (bits >= kInfinityBits) return false;
    const float amax = as_float(bits), inverse = 127 / amax;
    if (!(inverse <= 3.40282347e+38f)) {
      block = reference::Activation256{};
      continue;
    }
    const __m256 factor = _mm256_set1_ps(inverse);
    block.scale = amax / 127;
    for (int i = 0; i < 8; ++i) {
      const __m256i q = round_32(values + 32 * i, factor);
      const __m256i sums = sums_of_16(q);
      block.sums[2 * i] = static_cast<int16_t>(_mm256_extract_epi32(sums, 0));
      block.sums[2 * i + 1] = static_cast<int16_t>(_mm256_extract_epi32(sums, 4));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(block.q + 32 * i), q);
    }
  }
  return true;
}

}  // namespace sluice::kernels::avx2
#endif
