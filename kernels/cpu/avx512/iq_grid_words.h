// The grids of IQ2 and IQ3 without VBMI: as kernels/cpu/avx512/iq_grid.h, but an entry is a word, and 32 of them are looked up
// at once in a table of 64 words for each permutation.
#pragma once

#include "kernels/cpu/avx512/eight_rows.h"
#include "kernels/cpu/iq_tables.h"

namespace sluice::kernels::avx512 {

struct InputOfGrid {
  __m512i q[4];  // byte d of vector k is column 4d + k
};
SLUICE_AVX512_STEP InputOfGrid prepare_for_grid(const reference::Activation256& x) {
  const __m512i apart = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  const __m512i together = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m512i columns[4];
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v)
    columns[v] = _mm512_permutexvar_epi32(together, _mm512_shuffle_epi8(load_512(x.q + 64 * v), apart));
  InputOfGrid input;
  transpose_quarters(columns, input.q);
  return input;
}

// Bits 6 and up of 32 indices, a mask each. Shifts and vpmovw2m leave the port alone that permutations have to share.
struct UpperBits {
  __mmask32 bit[3];
};
SLUICE_AVX512_STEP UpperBits upper_bits(__m512i indices, __mmask32 bit8 = 0) {
  return {
      {_mm512_movepi16_mask(_mm512_slli_epi16(indices, 9)), _mm512_movepi16_mask(_mm512_slli_epi16(indices, 8)), bit8}};
}

// table[index], of kParts times 64 entries.
template <int kParts>
SLUICE_AVX512_STEP __m512i look_up(const uint16_t* table, __m512i indices, const UpperBits& upper) {
  if constexpr (kParts == 1) {
    return _mm512_permutex2var_epi16(load_512(table), indices, load_512(table + 32));
  } else {
    constexpr int kHalf = kParts / 2, kBit = kHalf == 1 ? 0 : kHalf == 2 ? 1 : 2;
    return _mm512_mask_blend_epi16(upper.bit[kBit], look_up<kHalf>(table, indices, upper),
                                   look_up<kHalf>(table + 64 * kHalf, indices, upper));
  }
}

// A vector whose quarters are shuffled alike, by 16 places.
SLUICE_AVX512_STEP __m512i shuffle_quarters_by(__m512i v, __m128i places) {
  return _mm512_shuffle_epi8(v, _mm512_broadcast_i32x4(places));
}

// The signs of 32 times eight columns, a byte each and each twice, from the seven that are stored in a word each; the eighth
// makes the number of minuses even.
SLUICE_AVX512_STEP __m512i complete_signs(__m512i seven_bits) {
  const __m512i is_odd =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0));
  // (a ^ b) & mask
  const __m512i nibbles =
      _mm512_ternarylogic_epi32(seven_bits, _mm512_srli_epi16(seven_bits, 4), _mm512_set1_epi16(15), 0x28);
  const __m512i signs = _mm512_or_si512(seven_bits, _mm512_shuffle_epi8(is_odd, nibbles));
  return _mm512_or_si512(signs, _mm512_slli_epi16(signs, 8));
}
// 32 bytes, each twice.
SLUICE_AVX512_STEP __m512i each_byte_twice(const std::byte* p) {
  const __m512i bytes = _mm512_cvtepu8_epi16(avx2::load_bytes(p));
  return _mm512_or_si512(bytes, _mm512_slli_epi16(bytes, 8));
}

// Four times seven sign bits and a scale s of four bits above them are the upper half of each 64 bits: the signs, and 2s + 1 in
// each word.
SLUICE_AVX512_STEP __m512i signs_of_groups(__m512i groups) {
  const __m512i words =
      shuffle_quarters_by(groups, _mm_setr_epi8(4, 5, 4, 5, 5, 6, 6, 7, 12, 13, 12, 13, 13, 14, 14, 15));
  const __m512i moved = _mm512_srlv_epi16(words, _mm512_set1_epi64(0x0005000600070000));
  return complete_signs(_mm512_and_si512(moved, _mm512_set1_epi16(127)));
}
SLUICE_AVX512_STEP __m512i scales_of_groups(__m512i groups) {
  const __m512i words =
      shuffle_quarters_by(groups, _mm_setr_epi8(6, 7, 6, 7, 6, 7, 6, 7, 14, 15, 14, 15, 14, 15, 14, 15));
  return _mm512_or_si512(_mm512_srli_epi16(words, 11), _mm512_set1_epi16(1));  // the bit below s becomes the 1
}

// 2s + 1 of each lane of 16 columns, twice, where s are nibbles: of 16 columns in eight bytes, or of 32 in four.
SLUICE_AVX512_STEP __m512i odd_scales(__m512i bytes_a_word_up, __m512i shifts) {
  return and_or(_mm512_srlv_epi16(bytes_a_word_up, shifts), _mm512_set1_epi16(0x1E), _mm512_set1_epi16(1));
}
SLUICE_AVX512_STEP __m512i odd_scales_of_16(const std::byte* eight_bytes) {
  const long long low = static_cast<long long>(0x0080008000800080), step = 0x0200020002000200;
  const __m512i places = _mm512_setr_epi64(low, low + step / 2, low + step, low + step + step / 2, low + 2 * step,
                                           low + 2 * step + step / 2, low + 3 * step, low + 3 * step + step / 2);
  return odd_scales(_mm512_shuffle_epi8(broadcast_eight_bytes(eight_bytes), places),
                    _mm512_set1_epi64(0x000B000B00070007));
}
SLUICE_AVX512_STEP __m512i odd_scales_of_32(const std::byte* four_bytes) {
  const long long low = static_cast<long long>(0x0080008000800080), step = 0x0100010001000100;
  const __m512i places = _mm512_setr_epi64(low, low, low + step, low + step, low + 2 * step, low + 2 * step,
                                           low + 3 * step, low + 3 * step);
  const __m512i packed = _mm512_set1_epi32(static_cast<int>(avx2::load_u32(four_bytes)));
  const __m512i shifts = _mm512_broadcast_i32x4(_mm_setr_epi16(7, 7, 7, 7, 11, 11, 11, 11));
  return odd_scales(_mm512_shuffle_epi8(packed, places), shifts);
}

// The product of eight rows of such a format. `Layout` is a struct with kBlockBytes, kFactor that the block's scale has, and
//   decode(tables, block, magnitudes, signs, scales)   vectors of a block as above, and the scales of its lanes
template <typename Layout>
struct RowsOfGrid {
  static constexpr int64_t kBlockBytes = Layout::kBlockBytes;
  static constexpr bool kHasMin = false;
  using Tables = const IqTables*;
  using Input = InputOfGrid;
  SLUICE_AVX512_STEP Input prepare(const reference::Activation256& x) { return prepare_for_grid(x); }

  // Sums of the lanes of a row. Two pairs of products fit in 16 bits: magnitudes are at most 62.
  SLUICE_AVX512_STEP __m512i multiply_signed(const __m512i (&magnitudes)[4], const __mmask64 (&is_minus)[4],
                                             __m512i scales, const InputOfGrid& x) {
    __m512i pairs[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k)
      pairs[k] = _mm512_maddubs_epi16(magnitudes[k],
                                      _mm512_mask_sub_epi8(x.q[k], is_minus[k], _mm512_setzero_si512(), x.q[k]));
    return _mm512_add_epi32(_mm512_madd_epi16(_mm512_add_epi16(pairs[0], pairs[1]), scales),
                            _mm512_madd_epi16(_mm512_add_epi16(pairs[2], pairs[3]), scales));
  }

  template <int N>
  SLUICE_AVX512_STEP void sums(Tables tables, const std::byte* const* rows, int64_t at, const Input (&x)[N],
                               EightSums<N>& eight) {
    __m512i whole[2][N];
#pragma GCC unroll 2
    for (int four = 0; four < 2; ++four) {
      __m512i scaled[N][4];
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        const std::byte* block = rows[4 * four + r] + at;
        avx2::prefetch_ahead<kBlockBytes>(block);
        __m512i magnitudes[4], signs, scales;
        Layout::decode(*tables, block, magnitudes, signs, scales);
        __mmask64 is_minus[4];
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k)
          is_minus[k] = _mm512_test_epi8_mask(signs, _mm512_set1_epi16(static_cast<int16_t>(0x1001 << k)));
        for (int i = 0; i < N; ++i) scaled[i][r] = multiply_signed(magnitudes, is_minus, scales, x[i]);
      }
      for (int i = 0; i < N; ++i) whole[four][i] = fold_four(scaled[i]);
    }
    for (int i = 0; i < N; ++i) eight.whole[i] = add_quarters(whole[0][i], whole[1][i]);
    eight.scale = avx2::eight_halves_at(rows, at);
    if constexpr (Layout::kFactor != 1) eight.scale = _mm256_mul_ps(eight.scale, _mm256_set1_ps(Layout::kFactor));
  }
};

}  // namespace sluice::kernels::avx512
