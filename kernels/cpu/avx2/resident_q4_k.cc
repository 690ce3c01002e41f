// Products with Q4_K in its resident form (kernels/cpu/resident_q4_k.h): eight rows in the lanes of a vector.
//
// 32 bytes of codes are eight columns of eight rows: two masks and a shift give the codes of twice four columns, which are
// multiplied by four bytes of the input each, broadcast from memory. A sub-block of 32 columns adds up in 16 bits: the
// largest sum is 8 * 2 * 15 * 127.
#if defined(__x86_64__)
#include "kernels/cpu/resident_q4_k.h"

#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/avx2/panel.h"

namespace sluice::kernels::avx2 {
namespace {

using namespace resident_q4_k;

// The scales of sub-block g, each twice.
SLUICE_AVX2_STEP __m256i group_scales(const std::byte* head, int g) {
  const __m256i each_twice =
      _mm256_setr_epi32(static_cast<int>(0x80008000), static_cast<int>(0x80018001), static_cast<int>(0x80028002),
                        static_cast<int>(0x80038003), static_cast<int>(0x80048004), static_cast<int>(0x80058005),
                        static_cast<int>(0x80068006), static_cast<int>(0x80078007));
  uint64_t eight;
  std::memcpy(&eight, head + kGroupScalesAt + 8 * g, sizeof eight);
  return _mm256_shuffle_epi8(_mm256_set1_epi64x(static_cast<long long>(eight)), each_twice);
}

// The mins of sub-blocks 2j and 2j + 1, side by side.
SLUICE_AVX2_STEP __m256i pair_of_mins(const std::byte* head, int j) {
  return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(head + kGroupMinsAt + 16 * j)));
}

SLUICE_AVX2_STEP __m256 eight_halves(const std::byte* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

template <int N>
SLUICE_AVX2_STEP void multiply(const std::byte* group, int64_t n_columns, const void* const* inputs, float* out) {
  const __m256i low_nibble = _mm256_set1_epi8(15);
  const int64_t n_blocks = n_columns / 256;
  const std::byte* head = group + n_blocks * kCodeBytes;
  const reference::Activation256* x[N];
  __m256 sums[N];
  for (int i = 0; i < N; ++i) {
    x[i] = static_cast<const reference::Activation256*>(inputs[i]);
    sums[i] = _mm256_setzero_ps();
  }
  for (int64_t b = 0; b < n_blocks; ++b, group += kCodeBytes, head += kHeadBytes) {
    prefetch_ahead<kCodeBytes>(group);
    alignas(16) int16_t group_sums[N][8];
    __m256i whole[N], away[N];
    for (int i = 0; i < N; ++i) {
      const auto* of_sixteen = reinterpret_cast<const __m128i*>(x[i][b].sums);
      _mm_store_si128(reinterpret_cast<__m128i*>(group_sums[i]),
                      _mm_hadd_epi16(_mm_loadu_si128(of_sixteen), _mm_loadu_si128(of_sixteen + 1)));
      whole[i] = away[i] = _mm256_setzero_si256();
    }
#pragma GCC unroll 2
    for (int g = 0; g < 8; ++g) {
      __m256i pairs[N];
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) {
        const __m256i both = _mm256_load_si256(reinterpret_cast<const __m256i*>(group) + 4 * g + v);
        const __m256i first = _mm256_and_si256(both, low_nibble);
        const __m256i second = _mm256_and_si256(_mm256_srli_epi16(both, 4), low_nibble);
#pragma GCC unroll 4
        for (int i = 0; i < N; ++i) {
          const int8_t* q = x[i][b].q + 32 * g + 8 * v;
          const __m256i one = _mm256_maddubs_epi16(first, broadcast_four_bytes(q));
          const __m256i two = _mm256_maddubs_epi16(second, broadcast_four_bytes(q + 4));
          pairs[i] = v == 0 ? _mm256_add_epi16(one, two) : _mm256_add_epi16(_mm256_add_epi16(pairs[i], one), two);
          keep_in_register(pairs[i]);
        }
      }
      const __m256i scales = group_scales(head, g);
#pragma GCC unroll 4
      for (int i = 0; i < N; ++i) whole[i] = _mm256_add_epi32(whole[i], _mm256_madd_epi16(pairs[i], scales));
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const __m256i mins = pair_of_mins(head, j);
      for (int i = 0; i < N; ++i)
        away[i] = _mm256_add_epi32(away[i], _mm256_madd_epi16(mins, broadcast_four_bytes(group_sums[i] + 2 * j)));
    }
    const __m256 scale = eight_halves(head), min = eight_halves(head + kMinsAt);
    for (int i = 0; i < N; ++i) {
      const __m256 input_scale = _mm256_set1_ps(x[i][b].scale);
      sums[i] = _mm256_fmadd_ps(_mm256_mul_ps(scale, input_scale), _mm256_cvtepi32_ps(whole[i]), sums[i]);
      sums[i] = _mm256_fnmadd_ps(_mm256_mul_ps(min, input_scale), _mm256_cvtepi32_ps(away[i]), sums[i]);
    }
  }
  for (int i = 0; i < N; ++i) _mm256_storeu_ps(out + i * kRowGroup, sums[i]);
}

}  // namespace

void fill_panel_resident_q4_k(const std::byte* group, int64_t n_columns, int64_t first_column, int eight, void* to) {
  auto& panel = *static_cast<NarrowPanel*>(to);
  const __m256i low_nibble = _mm256_set1_epi8(15);
  const int64_t block = first_column / 256;
  const std::byte* head = group + n_columns / 256 * kCodeBytes + block * kHeadBytes;
  const auto* codes = reinterpret_cast<const __m256i*>(group + block * kCodeBytes);
  for (int v = 0; v < 32; ++v) {
    const __m256i both = _mm256_load_si256(codes + v);
    store_group(panel.codes[2 * v], eight, _mm256_and_si256(both, low_nibble));
    store_group(panel.codes[2 * v + 1], eight, _mm256_and_si256(_mm256_srli_epi16(both, 4), low_nibble));
  }
  for (int g = 0; g < 8; ++g) store_group(panel.scales[2 * g], eight, group_scales(head, g));
  for (int j = 0; j < 4; ++j) store_group(panel.mins[j], eight, pair_of_mins(head, j));
  _mm256_store_ps(panel.scale[0] + kRowGroup * eight, eight_halves(head));
  _mm256_store_ps(panel.min[0] + kRowGroup * eight, eight_halves(head + kMinsAt));
}

void multiply_resident_q4_k(const std::byte* group, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                            float* out) {
  in_groups_of_inputs(n_inputs, [&]<int N>(int64_t i, std::integral_constant<int, N>) {
    multiply<N>(group, n_columns, inputs + i, out + i * kRowGroup);
  });
}

}  // namespace sluice::kernels::avx2
#endif
