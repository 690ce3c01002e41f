// TQ1_0 and TQ2_0: super-blocks of 256 ternary digits under one scale, value = scale * (t - 1).
//
//   TQ1_0  54 bytes | q 48 | high 4 | scale f16 |     a byte holds a fraction of 256 whose digits in base 3 are the values:
//            digit k is (uint8(byte * 3^k) * 3) >> 8
//            values 0-159: digit v/32 of q[v%32]; 160-239: digit (v-160)/16 of q[32 + (v-160)%16];
//            240-255: digit (v-240)/4 of high[(v-240)%4]
//   TQ2_0  66 bytes | q 64 | scale f16 |              value v: byte 32*(v/128) + v%32, the pair of bits (v/32)%4
#if defined(__x86_64__)
#include "kernels/cpu/avx2/formats.h"
#include "kernels/cpu/avx2/integer_dot.h"

namespace sluice::kernels::avx2 {
namespace {

// The next digit of every fraction: the whole part of 3/256 of it. Leaves the fraction times three.
SLUICE_AVX2_STEP __m256i next_digit(__m256i& fractions) {
  const __m256i low_byte = _mm256_set1_epi16(255), three = _mm256_set1_epi16(3);
  const __m256i even = _mm256_mullo_epi16(_mm256_and_si256(fractions, low_byte), three);
  const __m256i odd = _mm256_mullo_epi16(_mm256_srli_epi16(fractions, 8), three);
  fractions = _mm256_or_si256(_mm256_and_si256(even, low_byte), _mm256_slli_epi16(odd, 8));
  return _mm256_or_si256(_mm256_srli_epi16(even, 8), _mm256_andnot_si256(low_byte, odd));
}

struct KernelTQ1_0 {
  static constexpr int64_t kBlockBytes = 54, kScaleAt = 52;

  template <typename Visit>
  SLUICE_AVX2_STEP void for_groups(const std::byte* block, const Visit& visit) {
    __m256i fractions = load_bytes(block);
#pragma GCC unroll 5
    for (int g = 0; g < 5; ++g) visit(g, next_digit(fractions));
    // Digits 0 and 1, 2 and 3 of 16 bytes make two groups; digit 4 and the 16 values of `high` the last one. `high` has
    // four digits, so its bytes are spread as 16: byte i of them already multiplied by 3^(i/4).
    const __m128i rest = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 32));
    uint32_t high = load_u32(block + 48);
    uint32_t spread[4];
    for (uint32_t& part : spread) {
      part = high;
      const uint32_t even = (high & 0x00FF00FF) * 3 & 0x00FF00FF, odd = (high >> 8 & 0x00FF00FF) * 3 & 0x00FF00FF;
      high = even | odd << 8;
    }
    const __m128i top = _mm_setr_epi32(static_cast<int>(spread[0]), static_cast<int>(spread[1]),
                                       static_cast<int>(spread[2]), static_cast<int>(spread[3]));
    __m256i both = _mm256_set_m128i(top, rest);
    __m256i digits[5];
#pragma GCC unroll 5
    for (__m256i& digit : digits) digit = next_digit(both);
    visit(5, _mm256_permute2x128_si256(digits[0], digits[1], 0x20));
    visit(6, _mm256_permute2x128_si256(digits[2], digits[3], 0x20));
    visit(7, _mm256_permute2x128_si256(digits[4], digits[0], 0x30));
  }
};

struct KernelTQ2_0 {
  static constexpr int64_t kBlockBytes = 66, kScaleAt = 64;

  template <typename Visit>
  SLUICE_AVX2_STEP void for_groups(const std::byte* block, const Visit& visit) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      __m256i digits = load_bytes(block + 32 * half);
#pragma GCC unroll 4
      for (int g = 4 * half; g < 4 * half + 4; ++g, digits = _mm256_srli_epi16(digits, 2))
        visit(g, _mm256_and_si256(digits, _mm256_set1_epi8(3)));
    }
  }
};

template <typename Digits>
struct Kernel {
  template <int N>
  SLUICE_AVX2_STEP void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x,
                                 __m128* sums) {
    const __m256i ones = _mm256_set1_epi16(1);
    for (int64_t b = 0; b < n_columns / 256; ++b, row += Digits::kBlockBytes) {
      prefetch_ahead<Digits::kBlockBytes>(row);
      const float scale = load_half(row + Digits::kScaleAt);
      // Minus the sum of the activations, for the -1; the sums of 8 pairs of products stay far below 16 bits.
      __m256i dots[N];
      for (int i = 0; i < N; ++i) dots[i] = _mm256_sub_epi16(_mm256_setzero_si256(), load_bytes(x[i][b].sums));
      Digits::for_groups(
          row, [&](int g, __m256i t) __attribute__((always_inline)) {
            for (int i = 0; i < N; ++i)
              dots[i] = _mm256_add_epi16(dots[i], _mm256_maddubs_epi16(t, load_bytes(x[i][b].q + 32 * g)));
          });
      for (int i = 0; i < N; ++i) add_block(sums[i], scale * x[i][b].scale, _mm256_madd_epi16(dots[i], ones));
    }
  }
  static void unpack(const std::byte* block, CodedValues& coded) {
    coded.scale[0] = load_half(block + Digits::kScaleAt);
    store_twice(coded.group_scales, _mm_set1_epi16(1));
    store_twice(coded.group_mins, _mm_set1_epi16(1));
    Digits::for_groups(
        block, [&](int g, __m256i t) __attribute__((always_inline)) { store_codes(coded, g, t); });
  }
};

}  // namespace

void multiply_tq1_0(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                    float* out) {
  for_rows<Kernel<KernelTQ1_0>>(rows, n_columns, inputs, n_inputs, out);
}
void multiply_tq2_0(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                    float* out) {
  for_rows<Kernel<KernelTQ2_0>>(rows, n_columns, inputs, n_inputs, out);
}
void unpack_tq1_0(const std::byte* block, int64_t, CodedValues& coded) {
  Kernel<KernelTQ1_0>::unpack(block, coded);
}
void unpack_tq2_0(const std::byte* block, int64_t, CodedValues& coded) {
  Kernel<KernelTQ2_0>::unpack(block, coded);
}

}  // namespace sluice::kernels::avx2
#endif
