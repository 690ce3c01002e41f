// Vector steps that several files for AVX-512 take. Everything is static: a file built with flags of its own must not share
// functions with others.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sluice::kernels::avx512 {

#define SLUICE_AVX512_STEP static inline __attribute__((always_inline))

// std::min is a template of its own, which these files must not share.
SLUICE_AVX512_STEP int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

// The first n of sixteen lanes, n >= 0: all of them from 16 on.
SLUICE_AVX512_STEP __mmask16 first_lanes(int64_t n) {
  return static_cast<__mmask16>(n >= 16 ? 0xFFFF : (1u << n) - 1);
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

}  // namespace sluice::kernels::avx512
