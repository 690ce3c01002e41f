// The few vector steps that all row products share. Everything is static: a file built with flags of its own must not
// share functions with others.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/reference/activations.h"

namespace sluice::kernels::avx2 {

#define SLUICE_AVX2_STEP static inline __attribute__((always_inline))

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

// 32 bits -> 32 bytes, 0xFF where the bit is set.
SLUICE_AVX2_STEP __m256i spread_bits(uint32_t bits) {
  // Byte i gets the byte of `bits` that holds bit i, with all other bits set, so that it is all ones when bit i is.
  const __m256i which = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
  const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)), which);
  const __m256i others = _mm256_set1_epi64x(0x7FBFDFEFF7FBFDFE);
  return _mm256_cmpeq_epi8(_mm256_or_si256(spread, others), _mm256_set1_epi8(-1));
}

// Sums of four neighbouring products, weights unsigned. No pair of products may exceed 16 bits: weights up to 128.
SLUICE_AVX2_STEP __m256i dot_unsigned(__m256i weights, __m256i x) {
  return _mm256_madd_epi16(_mm256_maddubs_epi16(weights, x), _mm256_set1_epi16(1));
}

SLUICE_AVX2_STEP __m256i dot_signed(__m256i weights, __m256i x) {
  return dot_unsigned(_mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights));
}

// For 32 values in two sub-blocks of 16: the first scale in the 16-bit lanes of the low half, the second in those of the high half.
SLUICE_AVX2_STEP __m256i pair_of_scales(const int16_t* two_scales) {
  const __m256i first_then_second = _mm256_set_m128i(_mm_set1_epi16(0x0302), _mm_set1_epi16(0x0100));
  return _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(load_u32(two_scales))), first_then_second);
}

// Four grid entries of eight bytes each, in order.
SLUICE_AVX2_STEP __m256i four_entries(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  return _mm256_set_epi64x(static_cast<long long>(d), static_cast<long long>(c), static_cast<long long>(b),
                           static_cast<long long>(a));
}

// -1 in the bytes whose bit is set, 1 in the others.
SLUICE_AVX2_STEP __m256i signs_of_bits(uint32_t bits) {
  return _mm256_or_si256(spread_bits(bits), _mm256_set1_epi8(1));
}

// The 4-bit scales s of 16 sub-blocks (byte j: sub-blocks 2j and 2j + 1) as 2s + 1.
SLUICE_AVX2_STEP void unpack_odd_scales(const void* eight_bytes, int16_t* sixteen) {
  const __m128i packed = _mm_loadl_epi64(static_cast<const __m128i*>(eight_bytes));
  const __m128i nibble = _mm_set1_epi8(15);
  const __m128i low = _mm_and_si128(packed, nibble), high = _mm_and_si128(_mm_srli_epi16(packed, 4), nibble);
  const __m256i s = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(low, high));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(sixteen),
                      _mm256_add_epi16(_mm256_slli_epi16(s, 1), _mm256_set1_epi16(1)));
}

SLUICE_AVX2_STEP float sum_lanes(__m128 v) {
  v = _mm_add_ps(v, _mm_movehl_ps(v, v));
  return _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)));
}

SLUICE_AVX2_STEP float sum_lanes(__m256 v) {
  return sum_lanes(_mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)));
}

// Runs a row product for any number of inputs: `kernel` is a struct with a template multiply<N>(), which decodes the
// row once for N inputs. The order of one input's sums does not depend on N.
template <typename Kernel, typename Block>
SLUICE_AVX2_STEP void for_inputs(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                                 float* out) {
  const auto* const* x = reinterpret_cast<const Block* const*>(inputs);
  int64_t i = 0;
  for (; i + 4 <= n_inputs; i += 4) Kernel::template multiply<4>(row, n_columns, x + i, out + i);
  switch (n_inputs - i) {
    case 3:
      Kernel::template multiply<3>(row, n_columns, x + i, out + i);
      break;
    case 2:
      Kernel::template multiply<2>(row, n_columns, x + i, out + i);
      break;
    case 1:
      Kernel::template multiply<1>(row, n_columns, x + i, out + i);
      break;
    default:
      break;
  }
}

}  // namespace sluice::kernels::avx2
