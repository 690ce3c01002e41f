// Vector steps that several files for AVX2 take. Everything is static: a file built with flags of its own must not share
// functions with others.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sluice::kernels::avx2 {

#define SLUICE_AVX2_STEP static inline __attribute__((always_inline))

// std::min is a template of its own, which this file must not share.
SLUICE_AVX2_STEP int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

SLUICE_AVX2_STEP float load_half(const std::byte* p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return _cvtsh_ss(bits);
}

SLUICE_AVX2_STEP uint32_t load_u32(const void* p) {
  uint32_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return bits;
}

SLUICE_AVX2_STEP __m256i load_bytes(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

// 16 bytes of two nibbles each -> 32 bytes: the low nibbles, then the high ones.
SLUICE_AVX2_STEP __m256i unpack_nibbles(const void* p) {
  const __m128i both = _mm_loadu_si128(static_cast<const __m128i*>(p));
  return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(both, 4), both), _mm256_set1_epi8(15));
}

// The eight 6-bit scales, then the eight 6-bit mins, of Q4_K and Q5_K as bytes, from 12 bytes (q4_k_q5_k.cc has the layout).
SLUICE_AVX2_STEP __m128i unpack_scales_and_mins(const std::byte* packed) {
  const uint32_t a = load_u32(packed), b = load_u32(packed + 4), c = load_u32(packed + 8);
  const uint32_t s_low = a & 0x3F3F3F3F, m_low = b & 0x3F3F3F3F;
  const uint32_t s_high = (c & 0x0F0F0F0F) | (a >> 6 & 0x03030303) << 4;
  const uint32_t m_high = (c >> 4 & 0x0F0F0F0F) | (b >> 6 & 0x03030303) << 4;
  return _mm_set_epi32(static_cast<int>(m_high), static_cast<int>(m_low), static_cast<int>(s_high),
                       static_cast<int>(s_low));
}

// The first n of eight lanes of 32 bits, for masked loads and stores.
SLUICE_AVX2_STEP __m256i first_lanes(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

// The sum of eight lanes, added pairwise.
SLUICE_AVX2_STEP float add_lanes(__m256 v) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

SLUICE_AVX2_STEP __m256 widen_bf16(__m128i x) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}

// For rounding to 8 bits.

// The bits of the largest magnitude of n values, a multiple of 16: floats without a sign have the order of whole numbers,
// and infinities and NaNs (from kInfinityBits on) are the largest of them.
constexpr int32_t kInfinityBits = 0x7F800000;
SLUICE_AVX2_STEP int32_t largest_magnitude_bits(const float* values, int n) {
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

SLUICE_AVX2_STEP float as_float(int32_t bits) {
  return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(bits)));
}

// 32 values times `inverse` to the nearest whole numbers, halves to even.
SLUICE_AVX2_STEP __m256i round_32(const float* values, __m256 inverse) {
  __m256i whole[4];
  for (int i = 0; i < 4; ++i) whole[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(values + 8 * i), inverse));
  // Packing works in halves of 128 bits; the permutation puts groups of four back in order.
  const __m256i packed =
      _mm256_packs_epi16(_mm256_packs_epi32(whole[0], whole[1]), _mm256_packs_epi32(whole[2], whole[3]));
  return _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

}  // namespace sluice::kernels::avx2
