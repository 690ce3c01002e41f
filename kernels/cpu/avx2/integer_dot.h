// The vector steps that products with 8-bit inputs share. Static, as everything that files for AVX2 share.
#pragma once

#include <type_traits>

#include "kernels/cpu/avx2/steps.h"
#include "kernels/format.h"
#include "kernels/reference/activations.h"

namespace sluice::kernels::avx2 {

// Asks for the cache lines of a block some way ahead. The hardware's own prefetching stops at the end of a page of 4 KiB
// and starts anew after it; rows lie one behind the other, so what comes next is always what lies next.
template <int64_t kBytes>
SLUICE_AVX2_STEP void prefetch_ahead(const std::byte* block) {
  constexpr int64_t kAhead = 1536;
#pragma GCC unroll 8
  for (int64_t at = 0; at < kBytes; at += 64)
    _mm_prefetch(reinterpret_cast<const char*>(block + kAhead + at), _MM_HINT_T0);
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

// The 16-bit scales of a block in the form that scale_of() and pair_of_scales() pick from with one shuffle.
SLUICE_AVX2_STEP __m256i spread_eight(__m128i scales) {
  return _mm256_broadcastsi128_si256(scales);
}
struct SixteenScales {
  __m256i halves[2];
};
SLUICE_AVX2_STEP SixteenScales spread_sixteen(__m256i scales) {
  return {{_mm256_permute2x128_si256(scales, scales, 0x00), _mm256_permute2x128_si256(scales, scales, 0x11)}};
}

// Scale j of eight in all lanes.
SLUICE_AVX2_STEP __m256i scale_of(__m256i eight, int j) {
  return _mm256_shuffle_epi8(eight, _mm256_set1_epi16(static_cast<int16_t>(0x0100 + 0x0202 * j)));
}

// For group g of 32 values in two sub-blocks of 16: the first scale in the lanes of the low half, the second in those
// of the high half.
SLUICE_AVX2_STEP __m256i pair_of_scales(const SixteenScales& scales, int g) {
  const int first = 0x0100 + 0x0202 * (2 * (g % 4));
  return _mm256_shuffle_epi8(scales.halves[g / 4],
                             _mm256_set_m128i(_mm_set1_epi16(static_cast<int16_t>(first + 0x0202)),
                                              _mm_set1_epi16(static_cast<int16_t>(first))));
}

// Four grid entries of eight bytes each, in order.
SLUICE_AVX2_STEP __m256i four_entries(const uint64_t* a, const uint64_t* b, const uint64_t* c, const uint64_t* d) {
  const auto two = [](const uint64_t* low, const uint64_t* high) __attribute__((always_inline)) {
    const __m128i first = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(low));
    return _mm_castps_si128(_mm_loadh_pi(_mm_castsi128_ps(first), reinterpret_cast<const __m64*>(high)));
  };
  return _mm256_set_m128i(two(c, d), two(a, b));
}

// -1 in the bytes whose bit is set, 1 in the others.
SLUICE_AVX2_STEP __m256i signs_of_bits(uint32_t bits) {
  return _mm256_or_si256(spread_bits(bits), _mm256_set1_epi8(1));
}

// The 4-bit scales s of 16 sub-blocks (byte j: sub-blocks 2j and 2j + 1) as 2s + 1.
SLUICE_AVX2_STEP __m256i unpack_odd_scales(const void* eight_bytes) {
  const __m128i packed = _mm_loadl_epi64(static_cast<const __m128i*>(eight_bytes));
  const __m128i nibble = _mm_set1_epi8(15);
  const __m128i low = _mm_and_si128(packed, nibble), high = _mm_and_si128(_mm_srli_epi16(packed, 4), nibble);
  const __m256i s = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(low, high));
  return _mm256_add_epi16(_mm256_slli_epi16(s, 1), _mm256_set1_epi16(1));
}

SLUICE_AVX2_STEP __m128i sum_lanes(__m256i v) {  // the sum in every lane
  __m128i half = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4E));
  return _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xB1));
}

// One step of the numeric contract: sum = fma(scale, whole, sum).
SLUICE_AVX2_STEP void add_block(__m128& sum, float scale, __m256i whole) {
  sum = _mm_fmadd_ss(_mm_set_ss(scale), _mm_cvtepi32_ps(sum_lanes(whole)), sum);
}
// Both steps of a format with mins: sum = fma(scale, whole, sum), then sum = fma(-min, mins, sum). The four lanes of
// `mins` add up to their whole sum.
SLUICE_AVX2_STEP void add_block_with_mins(__m128& sum, float scale, __m256i whole, float min, __m128i mins) {
  const __m128i half = _mm_add_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
  __m128i both = _mm_hadd_epi32(half, mins);
  both = _mm_hadd_epi32(both, both);
  const __m128 values = _mm_cvtepi32_ps(both);
  sum = _mm_fmadd_ss(_mm_set_ss(scale), values, sum);
  sum = _mm_fnmadd_ss(_mm_set_ss(min), _mm_movehdup_ps(values), sum);
}

// Calls run(first, N as a type) for groups of four inputs, then two, then one, that make up n_inputs.
template <typename Run>
SLUICE_AVX2_STEP void in_groups_of_inputs(int64_t n_inputs, const Run& run) {
  int64_t i = 0;
  for (; i + 4 <= n_inputs; i += 4) run(i, std::integral_constant<int, 4>{});
  if (i + 2 <= n_inputs) run(i, std::integral_constant<int, 2>{}), i += 2;
  if (i < n_inputs) run(i, std::integral_constant<int, 1>{});
}

// The row group product of a format with Per256 activations: row after row, each decoded once for up to four inputs.
// `Kernel` is a struct with a template multiply<N>(row, n_columns, x, sums).
template <typename Kernel>
SLUICE_AVX2_STEP void for_rows(const std::byte* const* rows, int64_t n_columns, const void* const* inputs,
                               int64_t n_inputs, float* out) {
  const auto* const* x = reinterpret_cast<const reference::Activation256* const*>(inputs);
  for (int64_t r = 0; r < kRowGroup; ++r) {
    const std::byte* row = rows[r];
    float* to = out + r;
    const auto run = [&]<int N>(int64_t first, std::integral_constant<int, N>) {
      __m128 sums[N];
      for (int i = 0; i < N; ++i) sums[i] = _mm_setzero_ps();
      Kernel::template multiply<N>(row, n_columns, x + first, sums);
      for (int i = 0; i < N; ++i) to[(first + i) * kRowGroup] = _mm_cvtss_f32(sums[i]);
    };
    in_groups_of_inputs(n_inputs, run);
  }
}

// The f16 numbers at rows[0] + at to rows[7] + at.
SLUICE_AVX2_STEP __m256 eight_halves_at(const std::byte* const* rows, int64_t at) {
  const auto bits = [&](int r) __attribute__((always_inline)) {
    uint16_t half;
    std::memcpy(&half, rows[r] + at, sizeof half);
    return static_cast<int16_t>(half);
  };
  __m128i halves = _mm_cvtsi32_si128(static_cast<uint16_t>(bits(0)));
  halves = _mm_insert_epi16(halves, bits(1), 1);
  halves = _mm_insert_epi16(halves, bits(2), 2);
  halves = _mm_insert_epi16(halves, bits(3), 3);
  halves = _mm_insert_epi16(halves, bits(4), 4);
  halves = _mm_insert_epi16(halves, bits(5), 5);
  halves = _mm_insert_epi16(halves, bits(6), 6);
  halves = _mm_insert_epi16(halves, bits(7), 7);
  return _mm256_cvtph_ps(halves);
}

// The row group product of a format with Per32 activations. `Kernel` is a struct with
//   kBlockBytes, kHasMin
//   kZero                        the code that means 0
//   scales(rows, at), mins(rows, at)   the floats of the blocks at that offset of eight rows
//   whole(block, input)          eight lanes that add up to the whole sum of the block
// Eight rows go side by side, so that their sums come out in the lanes of one vector.
template <typename Kernel>
SLUICE_AVX2_STEP void for_rows_side_by_side(const std::byte* const* rows, int64_t n_columns, const void* const* inputs,
                                            int64_t n_inputs, float* out) {
  // Eight streams at once are too short and too many for the hardware to fetch ahead: the next eight rows are asked for.
  const int64_t next_rows = kRowGroup * (rows[1] - rows[0]);
  for (int64_t i = 0; i < n_inputs; ++i) {
    const auto* x = static_cast<const reference::Activation32*>(inputs[i]);
    __m256 sums = _mm256_setzero_ps();
    for (int64_t b = 0; b < n_columns / 32; ++b) {
      const int64_t at = b * Kernel::kBlockBytes;
      if (i == 0) {
#pragma GCC unroll 8
        for (int r = 0; r < 8; ++r) _mm_prefetch(reinterpret_cast<const char*>(rows[r] + next_rows + at), _MM_HINT_T1);
      }
      __m256i whole[8];
#pragma GCC unroll 8
      for (int r = 0; r < 8; ++r) whole[r] = Kernel::whole(rows[r] + at, x[b]);
      const __m256i to4 =
          _mm256_hadd_epi32(_mm256_hadd_epi32(whole[0], whole[1]), _mm256_hadd_epi32(whole[2], whole[3]));
      const __m256i to8 =
          _mm256_hadd_epi32(_mm256_hadd_epi32(whole[4], whole[5]), _mm256_hadd_epi32(whole[6], whole[7]));
      __m256i total =
          _mm256_add_epi32(_mm256_permute2x128_si256(to4, to8, 0x20), _mm256_permute2x128_si256(to4, to8, 0x31));
      if constexpr (Kernel::kZero != 0) total = _mm256_sub_epi32(total, _mm256_set1_epi32(Kernel::kZero * x[b].sum));
      const __m256 input_scale = _mm256_set1_ps(x[b].scale);
      sums = _mm256_fmadd_ps(_mm256_mul_ps(Kernel::scales(rows, at), input_scale), _mm256_cvtepi32_ps(total), sums);
      if constexpr (Kernel::kHasMin)
        sums = _mm256_fnmadd_ps(_mm256_mul_ps(Kernel::mins(rows, at), input_scale),
                                _mm256_set1_ps(static_cast<float>(x[b].sum)), sums);
    }
    _mm256_storeu_ps(out + i * kRowGroup, sums);
  }
}

// For unpacking.

SLUICE_AVX2_STEP void store_codes(CodedValues& coded, int group, __m256i codes) {
  _mm256_store_si256(reinterpret_cast<__m256i*>(coded.codes + 32 * group), codes);
}

// Eight 16-bit numbers, one for each 32 values, into the sixteen places of 16 values each.
SLUICE_AVX2_STEP void store_twice(int16_t* sixteen, __m128i eight) {
  _mm_store_si128(reinterpret_cast<__m128i*>(sixteen), _mm_unpacklo_epi16(eight, eight));
  _mm_store_si128(reinterpret_cast<__m128i*>(sixteen) + 1, _mm_unpackhi_epi16(eight, eight));
}

}  // namespace sluice::kernels::avx2
