// Products with IQ1_S in its resident form (kernels/cpu/resident_iq1_s.h): eight rows in the lanes of a vector.
//
// 32 bytes of codes are 16 columns of eight rows. Two shifts and a mask give the codes of four columns, which are
// multiplied by four bytes of the input, broadcast from memory. A group of 32 columns adds up in 16 bits: the largest
// sum is 8 * 2 * 2 * 127.
#if defined(__x86_64__)
#include "kernels/cpu/resident_iq1_s.h"

#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/avx2/panel.h"

namespace sluice::kernels::avx2 {
namespace {

using resident_iq1_s::kCodeBytes;
using resident_iq1_s::kUnitBytes;

// What a group of 32 columns multiplies by, for eight rows, each number twice.
struct Group {
  __m256i scales;  // 2s + 1
  __m256i mins;    // (2s + 1) * (8 - 8 delta)
};

SLUICE_AVX2_STEP Group unpack_group(const std::byte* head, int g) {
  const __m256i odd = _mm256_setr_epi32(0x00010001, 0x00030003, 0x00050005, 0x00070007,  //
                                        0x00090009, 0x000B000B, 0x000D000D, 0x000F000F);
  const __m256i nibbles =
      _mm256_srlv_epi32(broadcast_four_bytes(head + 16 + 4 * g), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
  const __m256i scales = _mm256_permutevar8x32_epi32(odd, nibbles);  // by the low three bits
  // 8 - 8 delta is 8 +- 1: eight scales and one more, or one less, by the top bit of the nibble.
  const __m256i is_minus = _mm256_srai_epi32(_mm256_slli_epi32(nibbles, 28), 31);
  const __m256i signed_scales = _mm256_sub_epi16(_mm256_xor_si256(scales, is_minus), is_minus);  // -scale where minus
  return {scales, _mm256_sub_epi16(_mm256_slli_epi16(scales, 3), signed_scales)};
}

template <int N>
SLUICE_AVX2_STEP void multiply(const std::byte* group, int64_t n_columns, const void* const* inputs, float* out) {
  const __m256i two_bits = _mm256_set1_epi8(3);
  const reference::Activation256* x[N];
  __m256 sums[N];
  for (int i = 0; i < N; ++i) {
    x[i] = static_cast<const reference::Activation256*>(inputs[i]);
    sums[i] = _mm256_setzero_ps();
  }
  for (int64_t b = 0; b < n_columns / 256; ++b, group += kUnitBytes) {
    prefetch_ahead<kUnitBytes>(group);
    const std::byte* head = group + kCodeBytes;
    __m256i dots[N], away[N];
    for (int i = 0; i < N; ++i) dots[i] = away[i] = _mm256_setzero_si256();
#pragma GCC unroll 2
    for (int g = 0; g < 8; ++g) {
      __m256i pairs[N];
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const __m256i packed = load_bytes(group + 64 * g + 32 * half);
#pragma GCC unroll 4
        for (int p = 0; p < 4; ++p) {
          const __m256i codes = _mm256_and_si256(_mm256_srli_epi16(packed, 2 * p), two_bits);
#pragma GCC unroll 4
          for (int i = 0; i < N; ++i) {
            const __m256i products =
                _mm256_maddubs_epi16(codes, broadcast_four_bytes(x[i][b].q + 32 * g + 16 * half + 4 * p));
            pairs[i] = half + p == 0 ? products : _mm256_add_epi16(pairs[i], products);
            keep_in_register(pairs[i]);
          }
        }
      }
      const Group numbers = unpack_group(head, g);
#pragma GCC unroll 4
      for (int i = 0; i < N; ++i) {
        dots[i] = _mm256_add_epi32(dots[i], _mm256_madd_epi16(pairs[i], numbers.scales));
        away[i] =
            _mm256_add_epi32(away[i], _mm256_madd_epi16(numbers.mins, broadcast_four_bytes(x[i][b].sums + 2 * g)));
      }
    }
    const __m256 scale =
        _mm256_mul_ps(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(head))), _mm256_set1_ps(0.125f));
    for (int i = 0; i < N; ++i) {
      const __m256i whole = _mm256_sub_epi32(_mm256_slli_epi32(dots[i], 3), away[i]);
      sums[i] =
          _mm256_fmadd_ps(_mm256_mul_ps(scale, _mm256_set1_ps(x[i][b].scale)), _mm256_cvtepi32_ps(whole), sums[i]);
    }
  }
  for (int i = 0; i < N; ++i) _mm256_storeu_ps(out + i * kRowGroup, sums[i]);
}

}  // namespace

void fill_panel_resident_iq1_s(const std::byte* group, int64_t, int64_t first_column, int eight, void* to) {
  auto& panel = *static_cast<NarrowPanel*>(to);
  const __m256i two_bits = _mm256_set1_epi8(3);
  const std::byte* codes = group + first_column / 256 * kUnitBytes;
  const std::byte* head = codes + kCodeBytes;
  for (int c = 0; c < 16; ++c) {
    const __m256i packed = load_bytes(codes + 32 * c);
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p)
      store_group(panel.codes[4 * c + p], eight, _mm256_and_si256(_mm256_srli_epi16(packed, 2 * p), two_bits));
  }
  Group even{};
  for (int g = 0; g < 8; ++g) {
    const Group numbers = unpack_group(head, g);
    store_group(panel.scales[2 * g], eight, _mm256_slli_epi16(numbers.scales, 3));
    if (g % 2 == 0)
      even = numbers;
    else
      store_group(panel.mins[g / 2], eight, _mm256_blend_epi16(even.mins, numbers.mins, 0xAA));
  }
  const __m256 scale = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(head)));
  _mm256_store_ps(panel.scale[0] + kRowGroup * eight, _mm256_mul_ps(scale, _mm256_set1_ps(0.125f)));
}

void multiply_resident_iq1_s(const std::byte* group, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                             float* out) {
  in_groups_of_inputs(n_inputs, [&]<int N>(int64_t i, std::integral_constant<int, N>) {
    multiply<N>(group, n_columns, inputs + i, out + i * kRowGroup);
  });
}

}  // namespace sluice::kernels::avx2
#endif
