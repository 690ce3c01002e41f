// Products of eight rows of super-blocks as they lie in the file with few inputs, a block of each row in turn: what the formats
// share. A vector of 512 bits holds values of one row. An input's block is put in the order in which a format's codes come out
// of its blocks once for eight rows, and then stays in registers, so that only weights are loaded.
//
// For both levels: the file that includes this defines SLUICE_HAS_VNNI for the higher one.
#pragma once

#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/avx512/steps.h"

namespace sluice::kernels::avx512 {

SLUICE_AVX512_STEP __m128i load_128(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
SLUICE_AVX512_STEP __m512i load_512(const void* p) {
  return _mm512_loadu_si512(p);
}

// Eight bytes in every 64 bits.
SLUICE_AVX512_STEP __m512i broadcast_eight_bytes(const std::byte* p) {
  long long bytes;
  std::memcpy(&bytes, p, sizeof bytes);
  return _mm512_set1_epi64(bytes);
}

// 16 bytes at the same place of four rows, a quarter each.
SLUICE_AVX512_STEP __m512i load_quarters(const std::byte* const* rows, int64_t at) {
  __m512i four = _mm512_castsi128_si512(load_128(rows[0] + at));
  four = _mm512_inserti32x4(four, load_128(rows[1] + at), 1);
  four = _mm512_inserti32x4(four, load_128(rows[2] + at), 2);
  return _mm512_inserti32x4(four, load_128(rows[3] + at), 3);
}

// Sums of four neighbouring products of codes (unsigned) and inputs. Without VNNI no pair may exceed 16 bits: codes up to 128.
SLUICE_AVX512_STEP __m512i dot(__m512i codes, __m512i x) {
#if defined(__AVX512VNNI__)
  // gcc 12 copies a register of zeros, which takes a port on some processors; this takes none. "x": a lower register.
  __m512i sum;
  asm("vpxor %x0, %x0, %x0\n\tvpdpbusd %2, %1, %0" : "=&x"(sum) : "v"(codes), "v"(x));
  return sum;
#elif defined(SLUICE_HAS_VNNI)
  return _mm512_dpbusd_epi32(_mm512_setzero_si512(), codes, x);
#else
  return _mm512_madd_epi16(_mm512_maddubs_epi16(codes, x), _mm512_set1_epi16(1));
#endif
}
// Of two such vectors together. Without VNNI codes up to 64.
SLUICE_AVX512_STEP __m512i dot_of_two(__m512i codes, __m512i x, __m512i more_codes, __m512i more_x) {
#if defined(SLUICE_HAS_VNNI)
  return _mm512_dpbusd_epi32(dot(codes, x), more_codes, more_x);
#else
  return _mm512_madd_epi16(_mm512_add_epi16(_mm512_maddubs_epi16(codes, x), _mm512_maddubs_epi16(more_codes, more_x)),
                           _mm512_set1_epi16(1));
#endif
}
// sum + pairs of 16-bit numbers times such pairs.
SLUICE_AVX512_STEP __m512i add_pairs(__m512i sum, __m512i a, __m512i b) {
#if defined(SLUICE_HAS_VNNI)
  return _mm512_dpwssd_epi32(sum, a, b);
#else
  return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
#endif
}

// Bits of a where the mask has ones, else of b; (a & mask) | b. The result takes the register of a.
SLUICE_AVX512_STEP __m512i choose_bits(__m512i a, __m512i mask, __m512i b) {
  return _mm512_ternarylogic_epi32(a, mask, b, 0xE2);
}
SLUICE_AVX512_STEP __m512i and_or(__m512i a, __m512i mask, __m512i b) {
  return _mm512_ternarylogic_epi32(a, mask, b, 0xEA);
}

// v[index] for 32 indices of 16-bit numbers. One operation for VBMI, two on many processors without.
SLUICE_AVX512_STEP __m512i permute_pairs_of_bytes(__m512i indices, __m512i v) {
#if defined(SLUICE_HAS_VNNI)
  const __m512i first = _mm512_slli_epi16(indices, 1);
  return _mm512_permutexvar_epi8(
      _mm512_or_si512(_mm512_or_si512(first, _mm512_slli_epi16(first, 8)), _mm512_set1_epi16(0x100)), v);
#else
  return _mm512_permutexvar_epi16(indices, v);
#endif
}

// The halves of each of two vectors added: those of a, then those of b. And its neighbouring quarters.
SLUICE_AVX512_STEP __m512i fold_halves(__m512i a, __m512i b) {
  return _mm512_add_epi32(_mm512_shuffle_i64x2(a, b, 0x44), _mm512_shuffle_i64x2(a, b, 0xEE));
}
SLUICE_AVX512_STEP __m512i fold_neighbours(__m512i a, __m512i b) {
  return _mm512_add_epi32(_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xDD));
}
// Of four vectors each as four lanes, one a quarter.
SLUICE_AVX512_STEP __m512i fold_four(const __m512i (&v)[4]) {
  return fold_neighbours(fold_halves(v[0], v[1]), fold_halves(v[2], v[3]));
}
// The sums of the quarters of two vectors, rows 0 to 3 and 4 to 7.
SLUICE_AVX512_STEP __m256i add_quarters(__m512i rows03, __m512i rows47) {
  const __m512i two = _mm512_add_epi32(_mm512_unpacklo_epi32(rows03, rows47), _mm512_unpackhi_epi32(rows03, rows47));
  const __m512i one = _mm512_add_epi32(two, _mm512_shuffle_epi32(two, _MM_PERM_BADC));
  const __m512i in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 4, 8, 12, 1, 5, 9, 13);
  return _mm512_castsi512_si256(_mm512_permutexvar_epi32(in_order, one));
}
// The same where a lane of each quarter is a row.
SLUICE_AVX512_STEP __m256i add_lanes_of_quarters(__m512i rows03, __m512i rows47) {
  const __m512i two = fold_neighbours(rows03, rows47);
  // Quarters: rows 0 to 3 twice, rows 4 to 7 twice.
  const __m512i one = _mm512_add_epi32(two, _mm512_shuffle_i64x2(two, two, 0xB1));
  return _mm512_castsi512_si256(_mm512_shuffle_i64x2(one, one, 0x08));
}

// Four vectors of four quarters: to[k] has quarter k of each.
SLUICE_AVX512_STEP void transpose_quarters(const __m512i (&from)[4], __m512i (&to)[4]) {
  const __m512i even01 = _mm512_shuffle_i64x2(from[0], from[1], 0x88),
                even23 = _mm512_shuffle_i64x2(from[2], from[3], 0x88);
  const __m512i odd01 = _mm512_shuffle_i64x2(from[0], from[1], 0xDD),
                odd23 = _mm512_shuffle_i64x2(from[2], from[3], 0xDD);
  to[0] = _mm512_shuffle_i64x2(even01, even23, 0x88);
  to[1] = _mm512_shuffle_i64x2(odd01, odd23, 0x88);
  to[2] = _mm512_shuffle_i64x2(even01, even23, 0xDD);
  to[3] = _mm512_shuffle_i64x2(odd01, odd23, 0xDD);
}

// Sixteen-bit word `word` of each quarter of two vectors, rows 0 to 3 and 4 to 7, as floats from half precision; of word + 1
// in the upper half.
SLUICE_AVX512_STEP __m512 halves_of_quarters(__m512i rows03, __m512i rows47, int word) {
  const __m512i places =
      _mm512_zextsi256_si512(_mm256_setr_epi16(0, 8, 16, 24, 32, 40, 48, 56, 1, 9, 17, 25, 33, 41, 49, 57));
  const __m512i at = _mm512_add_epi16(places, _mm512_set1_epi16(static_cast<int16_t>(word)));
  return _mm512_cvtph_ps(_mm512_castsi512_si256(_mm512_permutex2var_epi16(rows03, at, rows47)));
}

// What comes of a block of eight rows and N inputs; the numeric contract of kernels/format.h says how it is added up.
template <int N>
struct EightSums {
  __m256 scale;      // of the block
  __m256i whole[N];  // to be multiplied by it
  __m256 min;        // where a format has float mins, and their whole sums
  __m256i mins[N];
};

// `Kernel` is a struct with
//   kBlockBytes, kHasMin
//   Tables                              what it looks up in, made once a call: of iq_tables(), or NoTables
//   Input, prepare(x)                   a block of an input as the kernel wants it
//   sums<N>(tables, rows, at, x, out)   fills an EightSums for the blocks at that offset of eight rows
struct NoTables {};

template <typename Kernel, int N>
SLUICE_AVX512_STEP void multiply_blocks(typename Kernel::Tables tables, const std::byte* const* rows, int64_t n_columns,
                                        const void* const* inputs, float* out) {
  __m256 sums[N];
  for (int i = 0; i < N; ++i) sums[i] = _mm256_setzero_ps();
  for (int64_t b = 0; b < n_columns / 256; ++b) {
    const reference::Activation256* blocks[N];
    typename Kernel::Input x[N];
    for (int i = 0; i < N; ++i) {
      blocks[i] = static_cast<const reference::Activation256*>(inputs[i]) + b;
      x[i] = Kernel::prepare(*blocks[i]);
    }
    EightSums<N> eight;
    Kernel::template sums<N>(tables, rows, b * Kernel::kBlockBytes, x, eight);
    for (int i = 0; i < N; ++i) {
      const __m256 input_scale = _mm256_set1_ps(blocks[i]->scale);
      sums[i] = _mm256_fmadd_ps(_mm256_mul_ps(eight.scale, input_scale), _mm256_cvtepi32_ps(eight.whole[i]), sums[i]);
      if constexpr (Kernel::kHasMin)
        sums[i] = _mm256_fnmadd_ps(_mm256_mul_ps(eight.min, input_scale), _mm256_cvtepi32_ps(eight.mins[i]), sums[i]);
    }
  }
  for (int i = 0; i < N; ++i) _mm256_storeu_ps(out + i * kRowGroup, sums[i]);
}

// The row group product of a format: two inputs at a time, then one.
template <typename Kernel>
SLUICE_AVX512_STEP void multiply_eight_rows(const std::byte* const* rows, int64_t n_columns, const void* const* inputs,
                                            int64_t n_inputs, float* out, typename Kernel::Tables tables = {}) {
  for (; n_inputs >= 2; n_inputs -= 2, inputs += 2, out += 2 * kRowGroup)
    multiply_blocks<Kernel, 2>(tables, rows, n_columns, inputs, out);
  if (n_inputs == 1) multiply_blocks<Kernel, 1>(tables, rows, n_columns, inputs, out);
}

}  // namespace sluice::kernels::avx512
