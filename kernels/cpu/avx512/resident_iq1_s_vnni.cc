// Products with IQ1_S in its resident form (kernels/cpu/resident_iq1_s.h), with VNNI: eight rows in the lanes of a vector of
// 256 bits, as in side_by_side_vnni.cc.
//
// Two shifts fewer than there are codes: those of columns 4 to 7 and 12 to 15 of 16 stay two bits higher and have a sum of
// their own. A group of 32 columns fits in 16 bits in either sum, the larger being 16 * 2 * 4 * 127.
#if defined(__x86_64__)
#include "kernels/cpu/resident_iq1_s.h"

#include "kernels/cpu/avx512/dot_vnni.h"

namespace sluice::kernels::avx512_vnni {
namespace {

using avx2::prefetch_ahead;
using resident_iq1_s::kCodeBytes;
using resident_iq1_s::kUnitBytes;

// What a group of 32 columns multiplies by, for eight rows.
struct Group {
  __m256i scales;  // 2s + 1 in the lower 16 bits, zero above
  __m256i mins;    // (2s + 1) * (8 - 8 delta), twice
};

SLUICE_AVX512_STEP Group unpack_group(const std::byte* head, int g) {
  const __m256i nibbles =
      _mm256_srlv_epi32(avx2::broadcast_four_bytes(head + 16 + 4 * g), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
  // Both permutations see the lowest bits only: three of s, and the one for a delta of -1/8 as well.
  const __m256i odd = _mm256_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15);
  const __m256i twice = _mm256_or_si256(odd, _mm256_slli_epi32(odd, 16));
  return {_mm256_permutexvar_epi32(nibbles, odd),
          _mm256_permutex2var_epi32(_mm256_mullo_epi16(twice, _mm256_set1_epi16(7)), nibbles,
                                    _mm256_mullo_epi16(twice, _mm256_set1_epi16(9)))};
}

template <int N>
SLUICE_AVX512_STEP void multiply(const std::byte* group, int64_t n_columns, const void* const* inputs, float* out) {
  const __m256i lower = _mm256_set1_epi8(0x03), higher = _mm256_set1_epi8(0x0C);
  const reference::Activation256* x[N];
  __m256 sums[N];
  for (int i = 0; i < N; ++i) {
    x[i] = static_cast<const reference::Activation256*>(inputs[i]);
    sums[i] = _mm256_setzero_ps();
  }
  for (int64_t b = 0; b < n_columns / 256; ++b, group += kUnitBytes) {
    const std::byte* head = group + kCodeBytes;
    prefetch_ahead<kUnitBytes - kCodeBytes>(head);
    __m256i dots[N], dots_times4[N], away[N];
    for (int i = 0; i < N; ++i) dots[i] = dots_times4[i] = away[i] = _mm256_setzero_si256();
#pragma GCC unroll 2
    for (int g = 0; g < 8; ++g) {
      prefetch_ahead<64>(group + 64 * g);
      __m256i plain[N], times4[N];
      for (int i = 0; i < N; ++i) plain[i] = times4[i] = _mm256_setzero_si256();
#pragma GCC unroll 4
      for (int quarter = 0; quarter < 4; ++quarter) {
        // Four columns of each of eight rows, and four more two bits higher.
        __m256i packed = load_once(group + 64 * g + 32 * (quarter / 2));
        if (quarter % 2 == 1) packed = _mm256_srli_epi16(packed, 4);
        const __m256i first = _mm256_and_si256(packed, lower), second = _mm256_and_si256(packed, higher);
#pragma GCC unroll 4
        for (int i = 0; i < N; ++i) {
          add_dot(plain[i], first, x[i][b].q + 32 * g + 8 * quarter);
          add_dot(times4[i], second, x[i][b].q + 32 * g + 8 * quarter + 4);
        }
      }
      const Group numbers = unpack_group(head, g);
#pragma GCC unroll 4
      for (int i = 0; i < N; ++i) {
        add_pairs(dots[i], plain[i], numbers.scales);
        add_pairs(dots_times4[i], times4[i], numbers.scales);
        add_pairs(away[i], numbers.mins, x[i][b].sums + 2 * g);
      }
    }
    const __m256 scale =
        _mm256_mul_ps(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(head))), _mm256_set1_ps(0.125f));
    for (int i = 0; i < N; ++i) {
      const __m256i times8 = _mm256_add_epi32(_mm256_slli_epi32(dots[i], 3), _mm256_slli_epi32(dots_times4[i], 1));
      sums[i] = _mm256_fmadd_ps(_mm256_mul_ps(scale, _mm256_set1_ps(x[i][b].scale)),
                                _mm256_cvtepi32_ps(_mm256_sub_epi32(times8, away[i])), sums[i]);
    }
  }
  for (int i = 0; i < N; ++i) _mm256_storeu_ps(out + i * kRowGroup, sums[i]);
}

}  // namespace

void multiply_resident_iq1_s(const std::byte* group, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                             float* out) {
  avx2::in_groups_of_inputs(n_inputs, [&]<int N>(int64_t i, std::integral_constant<int, N>) {
    multiply<N>(group, n_columns, inputs + i, out + i * kRowGroup);
  });
}

}  // namespace sluice::kernels::avx512_vnni
#endif
