// IQ1_S as it lies in the file (kernels/cpu/avx2/iq1.cc has the layout), with VNNI: eight rows, a block of each in turn.
//
// Sixteen entries of the grid are looked up by one gather of 32 bits, in which an entry's codes are two bits each: column i
// of the eight at bits 0 and 1 of byte i, column 4 + i at bits 2 and 3. So a lane is an entry, and the inputs are put in that
// order, once for all rows: 32 loads for the 256 weights of a block bind this loop on most processors.
#if defined(__x86_64__)
#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/avx512/formats.h"
#include "kernels/cpu/avx512/steps.h"
#include "kernels/cpu/iq_tables.h"

namespace sluice::kernels::avx512_vnni {
namespace {

constexpr int64_t kBlockBytes = 50, kHighAt = 34;

SLUICE_AVX512_STEP __m128i load_128(const std::byte* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

// An input's block in the order of the lanes, for 128 columns each: the first and the second four columns of an entry.
struct Input {
  __m512i first[2], second[2];
  __m512i group_sums;  // of 32 columns, eight in 16 bits, four times
};
SLUICE_AVX512_STEP Input prepare(const reference::Activation256& x) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  Input input;
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    const __m512i low = _mm512_loadu_si512(x.q + 128 * half), high = _mm512_loadu_si512(x.q + 128 * half + 64);
    input.first[half] = _mm512_permutex2var_epi32(low, even, high);
    input.second[half] = _mm512_permutex2var_epi32(low, odd, high);
  }
  const auto* sums = reinterpret_cast<const __m128i*>(x.sums);
  input.group_sums = _mm512_broadcast_i32x4(_mm_hadd_epi16(_mm_loadu_si128(sums), _mm_loadu_si128(sums + 1)));
  return input;
}

// table[index] for sixteen indices. In assembly, because gcc 12 lets a gather start from an undefined register, and so wait
// for what was there, and because Bochs 2.7, which tests this code, refuses indices in one of the upper registers ("x").
using Table = const uint32_t[2048];
SLUICE_AVX512_STEP __m512i gather(const uint32_t* table, __m512i indices) {
#ifdef __AVX512VNNI__
  __m512i found = _mm512_setzero_si512();
  __mmask16 all = 0xFFFF;
  asm("vpgatherdd (%3,%2,4), %0%{%1%}"
      : "+&v"(found), "+Yk"(all)
      : "x"(indices), "r"(table), "m"(*reinterpret_cast<Table*>(table)));
  return found;
#else
  return _mm512_i32gather_epi32(indices, table, 4);
#endif
}

// The codes of the sixteen entries of 128 columns, two bits each.
SLUICE_AVX512_STEP __m512i look_up(const uint32_t* table, const std::byte* block, int half) {
  const __m512i q = _mm512_cvtepu8_epi32(load_128(block + 2 + 16 * half));
  // The bits of entry l of a group, from bit 3l of `high` on, come to bit 8.
  const __m512i a_byte_up =
      _mm512_set_epi32(static_cast<int>(0x80070680), static_cast<int>(0x80070680), static_cast<int>(0x80070680),
                       static_cast<int>(0x80070680), static_cast<int>(0x80050480), static_cast<int>(0x80050480),
                       static_cast<int>(0x80050480), static_cast<int>(0x80050480), static_cast<int>(0x80030280),
                       static_cast<int>(0x80030280), static_cast<int>(0x80030280), static_cast<int>(0x80030280),
                       static_cast<int>(0x80010080), static_cast<int>(0x80010080), static_cast<int>(0x80010080),
                       static_cast<int>(0x80010080));
  const __m512i groups = _mm512_add_epi8(a_byte_up, _mm512_set1_epi32(half * 0x00080800));
  const __m512i high = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(load_128(block + kHighAt)), groups);
  const __m512i moved = _mm512_srlv_epi32(high, _mm512_setr_epi32(0, 3, 6, 9, 0, 3, 6, 9, 0, 3, 6, 9, 0, 3, 6, 9));
  const __m512i indices = _mm512_or_si512(q, _mm512_and_si512(moved, _mm512_set1_epi32(0x700)));
  return gather(table, indices);
}

// Of four rows, eight 16-bit numbers each.
struct Scales {
  __m512i scales;  // 2s + 1
  __m512i mins;    // (2s + 1) * (7 or 9)
};
SLUICE_AVX512_STEP Scales unpack_scales(const std::byte* const* rows, int64_t at) {
  __m512i high = _mm512_castsi128_si512(load_128(rows[0] + at + kHighAt));
  high = _mm512_inserti32x4(high, load_128(rows[1] + at + kHighAt), 1);
  high = _mm512_inserti32x4(high, load_128(rows[2] + at + kHighAt), 2);
  high = _mm512_inserti32x4(high, load_128(rows[3] + at + kHighAt), 3);
  const __m512i s =
      _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(high, 11), _mm512_set1_epi16(14)), _mm512_set1_epi16(1));
  const __m512i times = _mm512_add_epi16(_mm512_slli_epi16(_mm512_srli_epi16(high, 15), 1), _mm512_set1_epi16(7));
  return {s, _mm512_mullo_epi16(s, times)};
}

// Scale g of row r of four, for the four entries of group 4 * half + g each, zero in the upper 16 bits.
SLUICE_AVX512_STEP __m512i scales_of_row(__m512i scales, int r, int half) {
  const __m512i groups = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  return _mm512_maskz_permutexvar_epi16(0x55555555, _mm512_add_epi32(groups, _mm512_set1_epi32(8 * r + 4 * half)),
                                        scales);
}

// Of four vectors each as four lanes, one a quarter.
SLUICE_AVX512_STEP __m512i fold_four(const __m512i (&v)[4]) {
  const auto fold = [](__m512i a, __m512i b) __attribute__((always_inline)) {
    return _mm512_add_epi32(_mm512_shuffle_i64x2(a, b, 0x44), _mm512_shuffle_i64x2(a, b, 0xEE));
  };
  const __m512i low = fold(v[0], v[1]), high = fold(v[2], v[3]);
  return _mm512_add_epi32(_mm512_shuffle_i64x2(low, high, 0x88), _mm512_shuffle_i64x2(low, high, 0xDD));
}
// The sums of the quarters of two vectors, rows 0 to 3 and 4 to 7.
SLUICE_AVX512_STEP __m256i add_quarters(__m512i rows03, __m512i rows47) {
  const __m512i two = _mm512_add_epi32(_mm512_unpacklo_epi32(rows03, rows47), _mm512_unpackhi_epi32(rows03, rows47));
  const __m512i one = _mm512_add_epi32(two, _mm512_shuffle_epi32(two, _MM_PERM_BADC));
  const __m512i in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 4, 8, 12, 1, 5, 9, 13);
  return _mm512_castsi512_si256(_mm512_permutexvar_epi32(in_order, one));
}

template <int N>
SLUICE_AVX512_STEP void multiply(const std::byte* const* rows, int64_t n_columns, const void* const* inputs,
                                 float* out) {
  const uint32_t* table = iq_tables().iq1_two_bits;
  const __m512i two_bits = _mm512_set1_epi8(3);
  __m256 sums[N];
  for (int i = 0; i < N; ++i) sums[i] = _mm256_setzero_ps();
  for (int64_t b = 0; b < n_columns / 256; ++b) {
    const int64_t at = b * kBlockBytes;
    Input x[N];
    for (int i = 0; i < N; ++i) x[i] = prepare(static_cast<const reference::Activation256*>(inputs[i])[b]);
    __m512i whole[2][N];
#pragma GCC unroll 1
    for (int four = 0; four < 2; ++four) {
      const std::byte* const* of_four = rows + 4 * four;
      const Scales numbers = unpack_scales(of_four, at);
      __m512i dots[N][4];
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        const std::byte* block = of_four[r] + at;
        avx2::prefetch_ahead<kBlockBytes>(block);
        for (int i = 0; i < N; ++i) dots[i][r] = _mm512_setzero_si512();
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          const __m512i packed = look_up(table, block, half);
          const __m512i first = _mm512_and_si512(packed, two_bits);
          const __m512i second = _mm512_and_si512(_mm512_srli_epi16(packed, 2), two_bits);
          const __m512i scales = scales_of_row(numbers.scales, r, half);
          for (int i = 0; i < N; ++i) {
            const __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), first, x[i].first[half]);
            dots[i][r] = _mm512_dpwssd_epi32(dots[i][r], _mm512_dpbusd_epi32(sum, second, x[i].second[half]), scales);
          }
        }
      }
      for (int i = 0; i < N; ++i)
        whole[four][i] = _mm512_sub_epi32(_mm512_slli_epi32(fold_four(dots[i]), 3),
                                          _mm512_madd_epi16(numbers.mins, x[i].group_sums));
    }
    const __m256 scale = _mm256_mul_ps(avx2::eight_halves_at(rows, at), _mm256_set1_ps(0.125f));
    for (int i = 0; i < N; ++i) {
      const float input_scale = static_cast<const reference::Activation256*>(inputs[i])[b].scale;
      sums[i] = _mm256_fmadd_ps(_mm256_mul_ps(scale, _mm256_set1_ps(input_scale)),
                                _mm256_cvtepi32_ps(add_quarters(whole[0][i], whole[1][i])), sums[i]);
    }
  }
  for (int i = 0; i < N; ++i) _mm256_storeu_ps(out + i * kRowGroup, sums[i]);
}

}  // namespace

void multiply_iq1_s(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                    float* out) {
  for (; n_inputs >= 2; n_inputs -= 2, inputs += 2, out += 2 * kRowGroup) multiply<2>(rows, n_columns, inputs, out);
  if (n_inputs == 1) multiply<1>(rows, n_columns, inputs, out);
}

}  // namespace sluice::kernels::avx512_vnni
#endif
