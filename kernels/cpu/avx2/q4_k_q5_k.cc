// Q4_K and Q5_K: super-blocks of 256 values in 8 sub-blocks of 32, value = scale*s * q - min*m.
//
//   Q4_K  144 bytes | scale f16 | min f16 | scales 12 | q 128 |
//   Q5_K  176 bytes | scale f16 | min f16 | scales 12 | high 32 | q 128 |
//
//   scales: 6-bit s and m of the 8 sub-blocks.  bytes 0-3: s 0-3, above them the top 2 bits of s 4-7
//                                               bytes 4-7: m 0-3, above them the top 2 bits of m 4-7
//                                               bytes 8-11: low 4 bits of s 4-7 (low nibbles), of m 4-7 (high nibbles)
//   q: byte 32*j + i holds value i of sub-block 2j in its low nibble and of sub-block 2j + 1 in its high one
//   high: bit k of byte i is the fifth bit of value i of sub-block k
#if defined(__x86_64__)
#include "kernels/cpu/avx2/formats.h"
#include "kernels/cpu/avx2/integer_dot.h"

namespace sluice::kernels::avx2 {
namespace {

// The 8 scales, then the 8 mins, as 16-bit numbers.
SLUICE_AVX2_STEP __m256i unpack_scales(const std::byte* packed) {
  return _mm256_cvtepu8_epi16(unpack_scales_and_mins(packed));
}

template <bool kFiveBits>
struct KernelQ4KQ5K {
  static constexpr int64_t kCodesAt = kFiveBits ? 48 : 16;
  static constexpr int64_t kBlockBytes = kCodesAt + 128;

  // Calls visit(j, codes of sub-block 2j, codes of sub-block 2j + 1) for the four pairs.
  template <typename Visit>
  SLUICE_AVX2_STEP void for_pairs(const std::byte* block, const Visit& visit) {
    const __m256i low_nibble = _mm256_set1_epi8(15), fifth = _mm256_set1_epi8(16);
    __m256i high = kFiveBits ? load_bytes(block + 16) : _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const __m256i both = load_bytes(block + kCodesAt + 32 * j);
      __m256i first = _mm256_and_si256(both, low_nibble);
      __m256i second = _mm256_and_si256(_mm256_srli_epi16(both, 4), low_nibble);
      if constexpr (kFiveBits) {  // bits 2j and 2j + 1, brought to bit 4
        first = _mm256_or_si256(first, _mm256_and_si256(_mm256_slli_epi16(high, 4), fifth));
        second = _mm256_or_si256(second, _mm256_and_si256(_mm256_slli_epi16(high, 3), fifth));
        high = _mm256_srli_epi16(high, 2);
      }
      visit(j, first, second);
    }
  }

  template <int N>
  SLUICE_AVX2_STEP void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x,
                                 __m128* sums) {
    for (int64_t b = 0; b < n_columns / 256; ++b, row += kBlockBytes) {
      prefetch_ahead<kBlockBytes>(row);
      const float scale = load_half(row), min = load_half(row + 2);
      const __m256i scales_and_mins = unpack_scales(row + 4);
      const __m128i mins = _mm256_extracti128_si256(scales_and_mins, 1);
      const __m256i scales = spread_eight(_mm256_castsi256_si128(scales_and_mins));

      __m256i dots[N];
      for (int i = 0; i < N; ++i) dots[i] = _mm256_setzero_si256();
      for_pairs(
          row, [&](int j, __m256i first, __m256i second) __attribute__((always_inline)) {
            const __m256i s_first = scale_of(scales, 2 * j), s_second = scale_of(scales, 2 * j + 1);
            for (int i = 0; i < N; ++i) {
              const int8_t* q = x[i][b].q + 64 * j;
              const __m256i one = _mm256_madd_epi16(_mm256_maddubs_epi16(first, load_bytes(q)), s_first);
              const __m256i two = _mm256_madd_epi16(_mm256_maddubs_epi16(second, load_bytes(q + 32)), s_second);
              dots[i] = _mm256_add_epi32(dots[i], _mm256_add_epi32(one, two));
            }
          });
      for (int i = 0; i < N; ++i) {
        const reference::Activation256& input = x[i][b];
        const auto* q_sums = reinterpret_cast<const __m128i*>(input.sums);  // of 16 values; pairs make a sub-block
        const __m128i sub_sums = _mm_hadd_epi16(_mm_loadu_si128(q_sums), _mm_loadu_si128(q_sums + 1));
        add_block_with_mins(sums[i], scale * input.scale, dots[i], min * input.scale, _mm_madd_epi16(mins, sub_sums));
      }
    }
  }

  static void unpack(const std::byte* block, CodedValues& coded) {
    coded.scale[0] = load_half(block);
    coded.min[0] = load_half(block + 2);
    const __m256i scales_and_mins = unpack_scales(block + 4);
    store_twice(coded.group_scales, _mm256_castsi256_si128(scales_and_mins));
    store_twice(coded.group_mins, _mm256_extracti128_si256(scales_and_mins, 1));
    for_pairs(
        block, [&](int j, __m256i first, __m256i second) __attribute__((always_inline)) {
          store_codes(coded, 2 * j, first);
          store_codes(coded, 2 * j + 1, second);
        });
  }
};

}  // namespace

void multiply_q4_k(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                   float* out) {
  for_rows<KernelQ4KQ5K<false>>(rows, n_columns, inputs, n_inputs, out);
}
void multiply_q5_k(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                   float* out) {
  for_rows<KernelQ4KQ5K<true>>(rows, n_columns, inputs, n_inputs, out);
}
void unpack_q4_k(const std::byte* blocks, int64_t, CodedValues& coded) {
  KernelQ4KQ5K<false>::unpack(blocks, coded);
}
void unpack_q5_k(const std::byte* blocks, int64_t, CodedValues& coded) {
  KernelQ4KQ5K<true>::unpack(blocks, coded);
}

}  // namespace sluice::kernels::avx2
#endif
