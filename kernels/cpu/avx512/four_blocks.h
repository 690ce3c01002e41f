// Products of eight rows of blocks of 32 as they lie in the file with few inputs, four blocks of each row in turn: what the
// formats share. A vector of 512 bits holds codes of one row, quarter b those of block b: one vector has the first 16
// columns of the four blocks, another the second. The inputs lie so too, and stay in registers for eight rows.
//
// For both levels: the file that includes this defines SLUICE_HAS_VNNI for the higher one.
#pragma once

#include "kernels/cpu/avx512/eight_rows.h"

namespace sluice::kernels::avx512 {

// 16 bytes of four blocks, one behind the other, a quarter each.
template <int64_t kBlockBytes>
SLUICE_AVX512_STEP __m512i load_of_four_blocks(const void* first) {
  const auto* p = static_cast<const std::byte*>(first);
  __m512i four = _mm512_castsi128_si512(load_128(p));
  four = _mm512_inserti32x4(four, load_128(p + kBlockBytes), 1);
  four = _mm512_inserti32x4(four, load_128(p + 2 * kBlockBytes), 2);
  return _mm512_inserti32x4(four, load_128(p + 3 * kBlockBytes), 3);
}

// 32 bytes of two blocks, a half each.
template <int64_t kBlockBytes>
SLUICE_AVX512_STEP __m512i load_of_two_blocks(const void* first) {
  const auto* p = static_cast<const std::byte*>(first);
  return _mm512_inserti64x4(_mm512_castsi256_si512(avx2::load_bytes(p)), avx2::load_bytes(p + kBlockBytes), 1);
}

struct InputOfFour {
  __m512i first, second;  // columns 0 to 15 and 16 to 31 of the blocks; or, of bytes, blocks 0 and 1, and 2 and 3
  __m512i sums[2];        // of blocks 0 and 1, and of 2 and 3, each eight times
  __m512 scales[2];
};
template <typename Codes>
SLUICE_AVX512_STEP InputOfFour prepare_four(const reference::Activation32* x) {
  constexpr int64_t kBytes = sizeof(reference::Activation32);
  InputOfFour input;
  if constexpr (Codes::kOfBytes)
    input.first = load_of_two_blocks<kBytes>(x->q), input.second = load_of_two_blocks<kBytes>(x[2].q);
  else
    input.first = load_of_four_blocks<kBytes>(x->q), input.second = load_of_four_blocks<kBytes>(x->q + 16);
#pragma GCC unroll 2
  for (int two = 0; two < 2; ++two) {
    const reference::Activation32 &a = x[2 * two], &b = x[2 * two + 1];
    input.sums[two] = _mm512_mask_set1_epi32(_mm512_set1_epi32(a.sum), 0xFF00, b.sum);
    input.scales[two] = _mm512_mask_broadcastss_ps(_mm512_set1_ps(a.scale), 0xFF00, _mm_load_ss(&b.scale));
  }
  return input;
}

// The codes of four blocks of a row: columns 0 to 15 and 16 to 31.
struct CodesOfFour {  // unsigned
  static constexpr bool kOfBytes = false;
  __m512i first, second;
};
struct BytesOfFour {  // signed: blocks 0 and 1, and 2 and 3
  static constexpr bool kOfBytes = true;
  __m512i first, second;
};
struct UnsignedBytesOfFour {  // the same
  static constexpr bool kOfBytes = true;
  __m512i first, second;
};
struct SignedCodesOfFour {
  static constexpr bool kOfBytes = false;
  __m512i first, second;  // magnitudes up to 128
  __mmask64 minus_first, minus_second;
};
SLUICE_AVX512_STEP CodesOfFour unpack_nibbles_of_four(__m512i both) {
  const __m512i nibble = _mm512_set1_epi8(15);
  return {_mm512_and_si512(both, nibble), _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble)};
}

// Their products with an input's, added up to four lanes a block in 32 bits, or, without VNNI and of unsigned codes up to
// 31, to eight in 16 bits.
SLUICE_AVX512_STEP __m512i lanes_of_products(const CodesOfFour& codes, const InputOfFour& x) {
#if defined(SLUICE_HAS_VNNI)
  return dot_of_two(codes.first, x.first, codes.second, x.second);
#else
  return _mm512_add_epi16(_mm512_maddubs_epi16(codes.first, x.first), _mm512_maddubs_epi16(codes.second, x.second));
#endif
}
SLUICE_AVX512_STEP __m512i lanes_of_products(const SignedCodesOfFour& codes, const InputOfFour& x) {
  const __m512i zero = _mm512_setzero_si512();
  return _mm512_add_epi32(dot(codes.first, _mm512_mask_sub_epi8(x.first, codes.minus_first, zero, x.first)),
                          dot(codes.second, _mm512_mask_sub_epi8(x.second, codes.minus_second, zero, x.second)));
}

SLUICE_AVX512_STEP __m512i lanes_of_products(const BytesOfFour& codes, const InputOfFour& x) {
#if defined(SLUICE_HAS_VNNI)
  return fold_neighbours(dot(codes.first, x.first), dot(codes.second, x.second));
#else
  const __m512i zero = _mm512_setzero_si512();
  const auto product = [&](__m512i c, __m512i q) __attribute__((always_inline)) {
    return dot(_mm512_abs_epi8(c), _mm512_mask_sub_epi8(q, _mm512_movepi8_mask(c), zero, q));
  };
  return fold_neighbours(product(codes.first, x.first), product(codes.second, x.second));
#endif
}

SLUICE_AVX512_STEP __m512i lanes_of_products(const UnsignedBytesOfFour& codes, const InputOfFour& x) {
#if defined(SLUICE_HAS_VNNI)
  return fold_neighbours(dot(codes.first, x.first), dot(codes.second, x.second));
#else
  const __m512i a = _mm512_maddubs_epi16(codes.first, x.first), b = _mm512_maddubs_epi16(codes.second, x.second);
  return _mm512_add_epi16(_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xDD));
#endif
}

// The lanes of two rows added as lanes of 16 or of 32 bits, so that they take turns in the 32-bit (64-bit) halves of a vector.
template <bool kWords>
SLUICE_AVX512_STEP __m512i add_lanes_of(__m512i a, __m512i b) {
  return kWords ? _mm512_add_epi16(a, b) : _mm512_add_epi32(a, b);
}
template <bool kWords>
SLUICE_AVX512_STEP __m512i fold_two_rows(__m512i a, __m512i b) {
  return add_lanes_of<kWords>(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}
template <bool kWords>
SLUICE_AVX512_STEP __m512i fold_four_rows(__m512i rows01, __m512i rows23) {
  return add_lanes_of<kWords>(_mm512_unpacklo_epi64(rows01, rows23), _mm512_unpackhi_epi64(rows01, rows23));
}
SLUICE_AVX512_STEP __m512i widen_pairs(__m512i v) {
  return _mm512_madd_epi16(v, _mm512_set1_epi16(1));
}

// Quarter b of two vectors has a number of block b for each of rows 0 to 3 and 4 to 7: those of eight rows for blocks 0 and 1, and
// for blocks 2 and 3.
SLUICE_AVX512_STEP void order_by_block(__m512i rows03, __m512i rows47, __m512i (&to)[2]) {
  to[0] = _mm512_permutex2var_epi64(rows03, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), rows47);
  to[1] = _mm512_permutex2var_epi64(rows03, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), rows47);
}

// 32 numbers in half precision.
SLUICE_AVX512_STEP void widen_halves(__m512i halves, __m512 (&to)[2]) {
  to[0] = _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
  to[1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1));
}

// What stands in front of the codes: of each block of eight rows the 32 bits, counted from the first block on, in which it
// begins. Quarter b of the vectors is block b, of rows 0 to 3 and 4 to 7.
template <int64_t kBlockBytes>
struct HeadsOfFour {
  __m512i rows03, rows47;

  SLUICE_AVX512_STEP void add_row(HeadsOfFour& heads, const std::byte* blocks, int r) {
    constexpr int kSecond = kBlockBytes * 2 / 4, kLast = kBlockBytes * 3 / 4;
    // The second vector, where one is not enough, begins at block 2 or ends with block 3.
    constexpr int kFrom = kLast < 16 ? 0 : kSecond < kBlockBytes - 16 ? kSecond : kBlockBytes - 16;
    const __m512i places = _mm512_setr_epi32(
        0, 0, 0, 0, kBlockBytes / 4, kBlockBytes / 4, kBlockBytes / 4, kBlockBytes / 4, kSecond - kFrom,
        kSecond - kFrom, kSecond - kFrom, kSecond - kFrom, kLast - kFrom, kLast - kFrom, kLast - kFrom, kLast - kFrom);
    const auto lanes = static_cast<__mmask16>(0x1111 << (r % 4));
    __m512i& four = r < 4 ? heads.rows03 : heads.rows47;
    four = r % 4 == 0 ? _mm512_permutexvar_epi32(places, load_512(blocks))
                      : _mm512_mask_permutexvar_epi32(four, lanes, places, load_512(blocks));
    if constexpr (kFrom != 0)
      four = _mm512_mask_permutexvar_epi32(four, lanes & 0xFF00, places, load_512(blocks + 4 * kFrom));
  }
  // The first 16 bits of each block in half precision, and the second ones where blocks begin at multiples of 32 bits.
  SLUICE_AVX512_STEP void unpack_halves(const HeadsOfFour& heads, __m512 (&first)[2], __m512 (&second)[2]) {
    constexpr int kUp = kBlockBytes % 4 == 0 ? 0 : 0x02020202;  // in quarters 1 and 3
    const __m512i words = _mm512_setr_epi32(
        0x05040100, 0x0D0C0908, 0x07060302, 0x0F0E0B0A, 0x05040100 + kUp, 0x0D0C0908 + kUp, 0x07060302, 0x0F0E0B0A,
        0x05040100, 0x0D0C0908, 0x07060302, 0x0F0E0B0A, 0x05040100 + kUp, 0x0D0C0908 + kUp, 0x07060302, 0x0F0E0B0A);
    const __m512i rows03 = _mm512_shuffle_epi8(heads.rows03, words), rows47 = _mm512_shuffle_epi8(heads.rows47, words);
    widen_halves(_mm512_unpacklo_epi64(rows03, rows47), first);
    widen_halves(_mm512_unpackhi_epi64(rows03, rows47), second);
  }
};

// `Kernel` is a struct with
//   kBytes            of four blocks
//   kZero             the code that means 0
//   kLargestCode      if codes are unsigned
//   kHasOffset        an offset is added to each value
//   Heads             what is kept of eight rows for the floats of their blocks
//   unpack(heads, blocks, r)          the codes of four blocks of row r; keeps its heads
//   floats(heads, rows, at, scales, offsets)   of eight rows, for blocks 0 and 1, and for 2 and 3
template <typename Kernel, int N>
SLUICE_AVX512_STEP void add_four_blocks(const std::byte* const* rows, int64_t at, int64_t prefetch_at,
                                        const reference::Activation32* const* inputs, __m256 (&sums)[N]) {
  // How long sums fit in 16 bits: of two rows 8 products have been added in a lane, of four rows 16.
#if defined(SLUICE_HAS_VNNI)
  constexpr bool kWords = false, kWordsOfTwo = false;
#else
  constexpr bool kWords = Kernel::kLargestCode < 32, kWordsOfTwo = Kernel::kLargestCode < 16;
#endif
  InputOfFour x[N];
  for (int i = 0; i < N; ++i) x[i] = prepare_four<typename Kernel::Codes>(inputs[i]);
  typename Kernel::Heads heads;
  __m512i lanes[N][8], two[N][4], four[N][2];
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r) {
    const std::byte* blocks = rows[r] + at;
#pragma GCC unroll 4
    for (int64_t line = 0; line < Kernel::kBytes; line += 64)
      _mm_prefetch(reinterpret_cast<const char*>(blocks + prefetch_at + line), _MM_HINT_T1);
    const auto codes = Kernel::unpack(heads, blocks, r);
    for (int i = 0; i < N; ++i) {
      lanes[i][r] = lanes_of_products(codes, x[i]);
      if (r % 2 == 1) two[i][r / 2] = fold_two_rows<kWords>(lanes[i][r - 1], lanes[i][r]);
      if (r % 2 == 1 && kWords && !kWordsOfTwo) two[i][r / 2] = widen_pairs(two[i][r / 2]);
      if (r % 4 == 3) four[i][r / 4] = fold_four_rows<kWordsOfTwo>(two[i][r / 2 - 1], two[i][r / 2]);
      if (r % 4 == 3 && kWordsOfTwo) four[i][r / 4] = widen_pairs(four[i][r / 4]);
    }
  }
  __m512 scales[2], offsets[2];
  Kernel::floats(heads, rows, at, scales, offsets);
  for (int i = 0; i < N; ++i) {
    __m512i whole[2];
    order_by_block(four[i][0], four[i][1], whole);
#pragma GCC unroll 2
    for (int k = 0; k < 2; ++k) {
      if constexpr (Kernel::kZero != 0)
        whole[k] = _mm512_sub_epi32(whole[k], _mm512_slli_epi32(x[i].sums[k], __builtin_ctz(Kernel::kZero)));
      const __m512 values = _mm512_cvtepi32_ps(whole[k]), scale = _mm512_mul_ps(scales[k], x[i].scales[k]);
      if constexpr (Kernel::kHasOffset) {
        const __m512 input_sums = _mm512_cvtepi32_ps(x[i].sums[k]), offset = _mm512_mul_ps(offsets[k], x[i].scales[k]);
        sums[i] = _mm256_fmadd_ps(lower_half(scale), lower_half(values), sums[i]);
        sums[i] = _mm256_fmadd_ps(lower_half(offset), lower_half(input_sums), sums[i]);
        sums[i] = _mm256_fmadd_ps(upper_half(scale), upper_half(values), sums[i]);
        sums[i] = _mm256_fmadd_ps(upper_half(offset), upper_half(input_sums), sums[i]);
      } else {
        sums[i] = _mm256_fmadd_ps(lower_half(scale), lower_half(values), sums[i]);
        sums[i] = _mm256_fmadd_ps(upper_half(scale), upper_half(values), sums[i]);
      }
    }
  }
}

template <typename Kernel, int N>
SLUICE_AVX512_STEP void multiply_fours(const std::byte* const* rows, int64_t n_columns, const void* const* inputs,
                                       float* out) {
  // As avx2::for_rows_side_by_side: the next eight rows are asked for.
  const int64_t next_rows = kRowGroup * (rows[1] - rows[0]);
  const int64_t n_fours = n_columns / 128, n_rest = n_columns % 128 / 32;
  __m256 sums[N];
  const reference::Activation32* x[N];
  for (int i = 0; i < N; ++i) {
    sums[i] = _mm256_setzero_ps();
    x[i] = static_cast<const reference::Activation32*>(inputs[i]);
  }
  const std::byte* padded_rows[8];
  std::byte blocks[8][Kernel::kBytes];
  reference::Activation32 padded_x[N][4];
  // Once for whole fours, and once for what is left, filled up with blocks that change no bit of a sum.
  int64_t n = n_fours;
  for (bool is_padded = n_fours == 0;; is_padded = true) {
    if (is_padded) {
      for (int r = 0; r < 8; ++r) {
        std::memset(blocks[r], 0, sizeof blocks[r]);
        std::memcpy(blocks[r], rows[r] + n_fours * Kernel::kBytes, static_cast<size_t>(n_rest * Kernel::kBytes / 4));
        padded_rows[r] = blocks[r];
      }
      rows = padded_rows;
      for (int i = 0; i < N; ++i) {
        std::memset(padded_x[i], 0, sizeof padded_x[i]);
        for (reference::Activation32& block : padded_x[i]) block.scale = -0.0f;  // sum + -0 is sum, whatever its sign
        std::memcpy(padded_x[i], x[i], static_cast<size_t>(n_rest) * sizeof padded_x[i][0]);
        x[i] = padded_x[i];
      }
      n = 1;
    }
    for (int64_t b = 0; b < n; ++b) {
      add_four_blocks<Kernel, N>(rows, b * Kernel::kBytes, next_rows, x, sums);
      for (int i = 0; i < N; ++i) x[i] += 4;
    }
    if (is_padded || n_rest == 0) break;
  }
  for (int i = 0; i < N; ++i) _mm256_storeu_ps(out + i * kRowGroup, sums[i]);
}

// The row group product of a format: two inputs at a time, then one.
template <typename Kernel>
SLUICE_AVX512_STEP void multiply_eight_rows_of_fours(const std::byte* const* rows, int64_t n_columns,
                                                     const void* const* inputs, int64_t n_inputs, float* out) {
  for (; n_inputs >= 2; n_inputs -= 2, inputs += 2, out += 2 * kRowGroup)
    multiply_fours<Kernel, 2>(rows, n_columns, inputs, out);
  if (n_inputs == 1) multiply_fours<Kernel, 1>(rows, n_columns, inputs, out);
}

}  // namespace sluice::kernels::avx512
