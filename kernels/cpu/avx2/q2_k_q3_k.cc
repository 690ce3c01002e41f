// Q2_K and Q3_K: super-blocks of 256 values in 16 sub-blocks of 16.
//
//   Q2_K   84 bytes | scales 16 | q 64 | scale f16 | min f16 |    value = scale*s * q - min*m
//            s is the low nibble of a byte of `scales`, m the high one
//   Q3_K  110 bytes | high 32 | q 64 | scales 12 | scale f16 |    value = scale*(s - 32) * (q - 4)
//            bytes 0-7 of `scales`: low 4 bits of s 0-7 (low nibbles) and 8-15 (high nibbles)
//            bytes 8-11: byte j holds the top 2 bits of s j, j+4, j+8, j+12, lowest bits first
//
//   group k of 32 values: its 2 low bits are bits 2*(k%4) and above of bytes 32*(k/4) to 32*(k/4) + 31 of q; bit k of byte i of `high`
//   is the third bit of value i
#if defined(__x86_64__)
#include "kernels/cpu/avx2/formats.h"
#include "kernels/cpu/avx2/integer_dot.h"

namespace sluice::kernels::avx2 {
namespace {

struct KernelQ2K {
  SLUICE_AVX2_STEP __m256i unpack_nibbles_to_16_bits(const std::byte* block, int shift) {
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block));
    return _mm256_cvtepu8_epi16(_mm_and_si128(_mm_srli_epi16(packed, shift), _mm_set1_epi8(15)));
  }

  // Calls visit(k, codes) for the eight groups of 32.
  template <typename Visit>
  SLUICE_AVX2_STEP void for_groups(const std::byte* block, const Visit& visit) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      __m256i codes = load_bytes(block + 16 + 32 * half);
#pragma GCC unroll 4
      for (int k = 4 * half; k < 4 * half + 4; ++k, codes = _mm256_srli_epi16(codes, 2))
        visit(k, _mm256_and_si256(codes, _mm256_set1_epi8(3)));
    }
  }

  template <int N>
  SLUICE_AVX2_STEP void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x,
                                 __m128* sums) {
    for (int64_t b = 0; b < n_columns / 256; ++b, row += 84) {
      prefetch_ahead<84>(row);
      const float scale = load_half(row + 80), min = load_half(row + 82);
      const __m256i mins = unpack_nibbles_to_16_bits(row, 4);
      const SixteenScales spread = spread_sixteen(unpack_nibbles_to_16_bits(row, 0));
      __m256i dots[N];
      for (int i = 0; i < N; ++i) dots[i] = _mm256_setzero_si256();
      for_groups(
          row, [&](int k, __m256i q) __attribute__((always_inline)) {
            const __m256i group_scales = pair_of_scales(spread, k);
            for (int i = 0; i < N; ++i) {
              const __m256i pairs = _mm256_maddubs_epi16(q, load_bytes(x[i][b].q + 32 * k));
              dots[i] = _mm256_add_epi32(dots[i], _mm256_madd_epi16(pairs, group_scales));
            }
          });
      for (int i = 0; i < N; ++i) {
        const reference::Activation256& input = x[i][b];
        const __m256i min_dots = _mm256_madd_epi16(mins, load_bytes(input.sums));
        add_block_with_mins(sums[i], scale * input.scale, dots[i], min * input.scale,
                            _mm_add_epi32(_mm256_castsi256_si128(min_dots), _mm256_extracti128_si256(min_dots, 1)));
      }
    }
  }
};

struct KernelQ3K {
  SLUICE_AVX2_STEP __m256i unpack_scales(const std::byte* block) {
    const uint32_t low0 = load_u32(block + 96), low1 = load_u32(block + 100), top = load_u32(block + 104);
    // Four scales: their low nibbles, and bits of `top` above them.
    const auto four = [top](uint32_t low, int shift) __attribute__((always_inline)) {
      return static_cast<int>((low & 0x0F0F0F0F) | (top >> shift & 0x03030303) << 4);
    };
    return _mm256_sub_epi16(
        _mm256_cvtepu8_epi16(_mm_set_epi32(four(low1 >> 4, 6), four(low0 >> 4, 4), four(low1, 2), four(low0, 0))),
        _mm256_set1_epi16(32));
  }

  template <typename Visit>
  SLUICE_AVX2_STEP void for_groups(const std::byte* block, const Visit& visit) {
    __m256i high = load_bytes(block);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      __m256i codes = load_bytes(block + 32 + 32 * half);
#pragma GCC unroll 4
      for (int k = 4 * half; k < 4 * half + 4; ++k) {
        const __m256i third = _mm256_slli_epi16(_mm256_and_si256(high, _mm256_set1_epi8(1)), 2);
        visit(k, _mm256_or_si256(_mm256_and_si256(codes, _mm256_set1_epi8(3)), third));
        codes = _mm256_srli_epi16(codes, 2);
        high = _mm256_srli_epi16(high, 1);
      }
    }
  }

  template <int N>
  SLUICE_AVX2_STEP void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x,
                                 __m128* sums) {
    for (int64_t b = 0; b < n_columns / 256; ++b, row += 110) {
      prefetch_ahead<110>(row);
      const float scale = load_half(row + 108);
      const __m256i scales = unpack_scales(row);
      const SixteenScales spread = spread_sixteen(scales);
      // The -4 of every code, times the sums of the activations.
      __m256i dots[N];
      for (int i = 0; i < N; ++i)
        dots[i] = _mm256_sub_epi32(_mm256_setzero_si256(),
                                   _mm256_slli_epi32(_mm256_madd_epi16(scales, load_bytes(x[i][b].sums)), 2));
      for_groups(
          row, [&](int k, __m256i q) __attribute__((always_inline)) {
            const __m256i group_scales = pair_of_scales(spread, k);
            for (int i = 0; i < N; ++i) {
              const __m256i pairs = _mm256_maddubs_epi16(q, load_bytes(x[i][b].q + 32 * k));
              dots[i] = _mm256_add_epi32(dots[i], _mm256_madd_epi16(pairs, group_scales));
            }
          });
      for (int i = 0; i < N; ++i) add_block(sums[i], scale * x[i][b].scale, dots[i]);
    }
  }
};

}  // namespace

void multiply_q2_k(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                   float* out) {
  for_rows<KernelQ2K>(rows, n_columns, inputs, n_inputs, out);
}
void multiply_q3_k(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                   float* out) {
  for_rows<KernelQ3K>(rows, n_columns, inputs, n_inputs, out);
}

void unpack_q2_k(const std::byte* block, int64_t, CodedValues& coded) {
  coded.scale[0] = load_half(block + 80);
  coded.min[0] = load_half(block + 82);
  _mm256_store_si256(reinterpret_cast<__m256i*>(coded.group_scales), KernelQ2K::unpack_nibbles_to_16_bits(block, 0));
  _mm256_store_si256(reinterpret_cast<__m256i*>(coded.group_mins), KernelQ2K::unpack_nibbles_to_16_bits(block, 4));
  KernelQ2K::for_groups(block, [&](int k, __m256i q) { store_codes(coded, k, q); });
}

void unpack_q3_k(const std::byte* block, int64_t, CodedValues& coded) {
  coded.scale[0] = load_half(block + 108);
  const __m256i scales = KernelQ3K::unpack_scales(block);
  _mm256_store_si256(reinterpret_cast<__m256i*>(coded.group_scales), scales);
  _mm256_store_si256(reinterpret_cast<__m256i*>(coded.group_mins), _mm256_slli_epi16(scales, 2));
  KernelQ3K::for_groups(block, [&](int k, __m256i q) { store_codes(coded, k, q); });
}

}  // namespace sluice::kernels::avx2
#endif
