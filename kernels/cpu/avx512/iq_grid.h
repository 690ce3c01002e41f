// The grids of IQ2 and IQ3, with VBMI: 64 entries or halves of them are looked up at once, by permutations of bytes in a table of
// registers or cache lines. A gather would take a load and several operations for each entry.
//
// Of the few magnitudes there are an entry holds the numbers, two or three bits each. So a vector of indices gives codes of
// four columns, byte d of vector k being column 4d + k of a block, and the inputs lie so. A lane is 16 neighbouring
// columns in all four vectors, and these have one scale.
#pragma once

#include "kernels/cpu/avx512/eight_rows.h"
#include "kernels/cpu/iq_tables.h"

namespace sluice::kernels::avx512 {

struct InputOfGrid {
  __m512i q[4];
};
SLUICE_AVX512_STEP InputOfGrid prepare_for_grid(const reference::Activation256& x) {
  // Byte d of quarter k from byte 4d + k of 64.
  const __m512i apart =
      _mm512_set_epi32(0x3F3B3733, 0x2F2B2723, 0x1F1B1713, 0x0F0B0703, 0x3E3A3632, 0x2E2A2622, 0x1E1A1612, 0x0E0A0602,
                       0x3D393531, 0x2D292521, 0x1D191511, 0x0D090501, 0x3C383430, 0x2C282420, 0x1C181410, 0x0C080400);
  __m512i columns[4];
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) columns[v] = _mm512_permutexvar_epi8(apart, load_512(x.q + 64 * v));
  InputOfGrid input;
  transpose_quarters(columns, input.q);
  return input;
}

// Bits 6 and up of the indices, a mask each.
struct UpperBits {
  __mmask64 bit[4];
};
SLUICE_AVX512_STEP UpperBits upper_bits(__m512i indices, __mmask64 bit8 = 0, __mmask64 bit9 = 0) {
  return {{_mm512_movepi8_mask(_mm512_add_epi8(indices, indices)), _mm512_movepi8_mask(indices), bit8, bit9}};
}

// table[index], of kParts times 64 entries: a permutation sees the lowest six bits of an index, and the upper ones choose.
template <int kParts>
SLUICE_AVX512_STEP __m512i look_up(const uint8_t* table, __m512i indices, const UpperBits& upper) {
  if constexpr (kParts == 1) {
    return _mm512_permutexvar_epi8(indices, load_512(table));
  } else {
    constexpr int kHalf = kParts / 2, kBit = kHalf == 1 ? 0 : kHalf == 2 ? 1 : kHalf == 4 ? 2 : 3;
    return _mm512_mask_blend_epi8(upper.bit[kBit], look_up<kHalf>(table, indices, upper),
                                  look_up<kHalf>(table + 64 * kHalf, indices, upper));
  }
}
// The same with one table for even bytes and another for odd ones.
template <int kParts>
SLUICE_AVX512_STEP __m512i look_up(const uint8_t* even, const uint8_t* odd, __m512i indices, const UpperBits& upper) {
  if constexpr (kParts == 1) {
    return _mm512_mask_permutexvar_epi8(_mm512_permutexvar_epi8(indices, load_512(even)), 0xAAAAAAAAAAAAAAAA, indices,
                                        load_512(odd));
  } else {
    constexpr int kHalf = kParts / 2, kBit = kHalf == 1 ? 0 : kHalf == 2 ? 1 : kHalf == 4 ? 2 : 3;
    return _mm512_mask_blend_epi8(upper.bit[kBit], look_up<kHalf>(even, odd, indices, upper),
                                  look_up<kHalf>(even + 64 * kHalf, odd + 64 * kHalf, indices, upper));
  }
}

// 32 bytes, each twice.
SLUICE_AVX512_STEP __m512i each_byte_twice(const std::byte* p) {
  alignas(64) static constexpr uint8_t kPlaces[64] = {0,  0,  1,  1,  2,  2,  3,  3,  4,  4,  5,  5,  6,  6,  7,  7,
                                                      8,  8,  9,  9,  10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15,
                                                      16, 16, 17, 17, 18, 18, 19, 19, 20, 20, 21, 21, 22, 22, 23, 23,
                                                      24, 24, 25, 25, 26, 26, 27, 27, 28, 28, 29, 29, 30, 30, 31, 31};
  return _mm512_permutexvar_epi8(load_512(kPlaces), _mm512_castsi256_si512(avx2::load_bytes(p)));
}

// The signs of 32 times eight columns, a byte each and each twice, from the seven that are stored, in the lower bits of each
// byte; the eighth makes the number of minuses even.
SLUICE_AVX512_STEP __m512i look_up_signs(const IqTables& tables, __m512i seven_bits) {
  return _mm512_permutex2var_epi8(load_512(tables.sign_bits), seven_bits, load_512(tables.sign_bits + 64));
}

// 2s + 1 of lane l, the 16 columns from 16l on, where s are nibbles; each for so many lanes. packed: the nibbles in every 64 bits.
template <int kLanes>
SLUICE_AVX512_STEP __m512i odd_scales(__m512i packed) {
  // A bit lower, which makes them twice as large.
  const auto place = [](int lane) __attribute__((always_inline)) {
    return (4 * (lane / kLanes) + 63) & 63;
  };
  const __m512i places =
      _mm512_setr_epi32(place(0), place(1), place(2), place(3), place(4), place(5), place(6), place(7), place(8),
                        place(9), place(10), place(11), place(12), place(13), place(14), place(15));
  return and_or(_mm512_multishift_epi64_epi8(places, packed), _mm512_set1_epi32(0x1E), _mm512_set1_epi32(1));
}

// Sums of the lanes of a row. signs: of each eight columns a byte, twice.
template <int N>
SLUICE_AVX512_STEP void multiply_signed(const __m512i (&magnitudes)[4], __m512i signs, const InputOfGrid (&x)[N],
                                        __m512i (&sums)[N]) {
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    const __mmask64 is_minus = _mm512_test_epi8_mask(signs, _mm512_set1_epi16(static_cast<int16_t>(0x1001 << k)));
    for (int i = 0; i < N; ++i) {
      const __m512i q = _mm512_mask_sub_epi8(x[i].q[k], is_minus, _mm512_setzero_si512(), x[i].q[k]);
      sums[i] = k == 0 ? dot(magnitudes[k], q) : _mm512_dpbusd_epi32(sums[i], magnitudes[k], q);
    }
  }
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
        __m512i magnitudes[4], signs, scales, sums[N];
        Layout::decode(*tables, block, magnitudes, signs, scales);
        multiply_signed<N>(magnitudes, signs, x, sums);
        for (int i = 0; i < N; ++i) scaled[i][r] = _mm512_mullo_epi32(sums[i], scales);
      }
      for (int i = 0; i < N; ++i) whole[four][i] = fold_four(scaled[i]);
    }
    for (int i = 0; i < N; ++i) eight.whole[i] = add_quarters(whole[0][i], whole[1][i]);
    eight.scale = avx2::eight_halves_at(rows, at);
    if constexpr (Layout::kFactor != 1) eight.scale = _mm256_mul_ps(eight.scale, _mm256_set1_ps(Layout::kFactor));
  }
};

}  // namespace sluice::kernels::avx512
