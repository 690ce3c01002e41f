// Vector steps that several files for AVX-512 take. Everything is static: a file built with flags of its own must not share
// functions with others.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sluice::kernels::avx512 {

// Inlined whatever the size; but where the machine is simulated (tests/simde) that would take minutes to build.
#if defined(__AVX512F__)
#define SLUICE_AVX512_STEP static inline __attribute__((always_inline))
#else
#define SLUICE_AVX512_STEP static inline
#endif

// std::min is a template of its own, which these files must not share.
SLUICE_AVX512_STEP int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

// The first n of sixteen lanes, n >= 0: all of them from 16 on.
SLUICE_AVX512_STEP __mmask16 first_lanes(int64_t n) {
  return static_cast<__mmask16>(n >= 16 ? 0xFFFF : (1u << n) - 1);
}

// Calls step(place, lanes) for every sixteen of n values, and for what is left. In the loop the mask is a constant, with which
// masked loads and stores become plain ones.
template <class Step>
SLUICE_AVX512_STEP void for_each_sixteen(int64_t n, const Step& step) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) step(i, static_cast<__mmask16>(0xFFFF));
  if (i < n) step(i, first_lanes(n - i));
}

SLUICE_AVX512_STEP __m256 lower_half(__m512 v) {
  return _mm512_castps512_ps256(v);
}
SLUICE_AVX512_STEP __m256 upper_half(__m512 v) {
  return _mm512_extractf32x8_ps(v, 1);
}

// The sum of eight lanes, added pairwise.
SLUICE_AVX512_STEP float add_lanes(__m256 v) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

// Sixteen numbers in half precision at any address.
SLUICE_AVX512_STEP __m512 load_halves(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
// The first n < 16 of them, and zeros.
SLUICE_AVX512_STEP __m512 load_first_halves(const uint16_t* p, int64_t n) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(n), p));
}

SLUICE_AVX512_STEP __m512 widen_bf16(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

constexpr int kToNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

// For rounding to 8 bits.

// The bits of the largest magnitude of n values, a multiple of 32: floats without a sign have the order of whole numbers,
// and infinities and NaNs (from kInfinityBits on) are the largest of them.
constexpr int32_t kInfinityBits = 0x7F800000;
SLUICE_AVX512_STEP int32_t largest_magnitude_bits(const float* values, int n) {
  const __m512i no_sign = _mm512_set1_epi32(0x7FFFFFFF);
  __m512i a = _mm512_setzero_si512(), b = a;
  for (int i = 0; i < n; i += 32) {
    a = _mm512_max_epi32(a, _mm512_and_si512(_mm512_castps_si512(_mm512_loadu_ps(values + i)), no_sign));
    b = _mm512_max_epi32(b, _mm512_and_si512(_mm512_castps_si512(_mm512_loadu_ps(values + i + 16)), no_sign));
  }
  return _mm512_reduce_max_epi32(_mm512_max_epi32(a, b));
}

SLUICE_AVX512_STEP float as_float(int32_t bits) {
  return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(bits)));
}

// Sixteen values times `inverse` to the nearest whole numbers, halves to even.
SLUICE_AVX512_STEP __m512i round_16(const float* values, __m512 inverse) {
  return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(values), inverse));
}

// Thirty-two whole numbers in [-128, 127] as bytes.
SLUICE_AVX512_STEP __m256i narrow_32(__m512i first, __m512i second) {
  return _mm256_set_m128i(_mm512_cvtepi32_epi8(second), _mm512_cvtepi32_epi8(first));
}

}  // namespace sluice::kernels::avx512
