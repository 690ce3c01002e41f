// Steps that products and panels share of the form with eight rows side by side (kernels/cpu/side_by_side.h). kIndex is
// the format's place in side_by_side::kForms.
#pragma once

#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/avx2/panel.h"
#include "kernels/cpu/side_by_side.h"

namespace sluice::kernels::avx2 {

// v shifted left, or right by -left, in lanes of 16 bits: what crosses bytes is masked away afterwards.
SLUICE_AVX2_STEP __m256i shifted(__m256i v, int left) {
  return left > 0 ? _mm256_slli_epi16(v, left) : left < 0 ? _mm256_srli_epi16(v, -left) : v;
}

// The indices of steps 4 * half to 4 * half + 3 of 32 columns. With 3 bits, bits 4 to 6 of a byte may hold anything.
template <int kBits>
SLUICE_AVX2_STEP void unpack_indices(const std::byte* codes, int half, __m256i (&steps)[4]) {
  const auto vector = [codes](int v) __attribute__((always_inline)) {
    return load_bytes(codes + 32 * v);
  };
  if constexpr (kBits == 2) {
    const __m256i four = vector(half);
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p) steps[p] = _mm256_and_si256(shifted(four, -2 * p), _mm256_set1_epi8(3));
  } else if constexpr (kBits == 3) {
    // Two steps at a time in the nibbles of a byte, with the third bit set in both at once.
    const __m256i four = vector(half), third = vector(2);
#pragma GCC unroll 2
    for (int p = 0; p < 2; ++p) {
      const __m256i low = _mm256_and_si256(shifted(four, -2 * p), _mm256_set1_epi8(0x33));
      const __m256i high = _mm256_and_si256(shifted(third, 2 - one_bit_place(4 * half + p)), _mm256_set1_epi8(0x44));
      steps[p] = _mm256_or_si256(low, high);
      steps[p + 2] = _mm256_srli_epi16(steps[p], 4);
    }
  } else {
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      const __m256i two = vector(2 * half + v);
      steps[2 * v] = _mm256_and_si256(two, _mm256_set1_epi8(15));
      steps[2 * v + 1] = _mm256_and_si256(_mm256_srli_epi16(two, 4), _mm256_set1_epi8(15));
    }
    if constexpr (kBits == 5) {
      const __m256i fifth = vector(4);
#pragma GCC unroll 4
      for (int p = 0; p < 4; ++p)
        steps[p] = _mm256_or_si256(
            steps[p], _mm256_and_si256(shifted(fifth, 4 - one_bit_place(4 * half + p)), _mm256_set1_epi8(0x10)));
    }
  }
}

template <size_t kIndex>
SLUICE_AVX2_STEP __m256i code_table() {
  constexpr std::array<int8_t, 16> c = side_by_side::kForms[kIndex].table.codes;
  const __m128i table =
      _mm_setr_epi8(std::get<0>(c), std::get<1>(c), std::get<2>(c), std::get<3>(c), std::get<4>(c), std::get<5>(c),
                    std::get<6>(c), std::get<7>(c), std::get<8>(c), std::get<9>(c), std::get<10>(c), std::get<11>(c),
                    std::get<12>(c), std::get<13>(c), std::get<14>(c), std::get<15>(c));
  return _mm256_broadcastsi128_si256(table);
}

// The codes of steps 4 * half to 4 * half + 3.
template <size_t kIndex>
SLUICE_AVX2_STEP void unpack_codes(const std::byte* codes, int half, __m256i (&steps)[4]) {
  constexpr SideBySide kForm = side_by_side::kForms[kIndex];
  unpack_indices<kForm.bits>(codes, half, steps);
#pragma GCC unroll 4
  for (int p = 0; p < 4; ++p) {
    if constexpr (kForm.table.is_used)
      steps[p] = _mm256_shuffle_epi8(code_table<kIndex>(), steps[p]);
    else if constexpr (kForm.bits == 3)
      steps[p] = _mm256_and_si256(steps[p], _mm256_set1_epi8(7));
  }
}

// Eight bytes as 16-bit numbers, each twice.
SLUICE_AVX2_STEP __m256i bytes_each_twice(const std::byte* p) {
  const __m256i low_bytes =
      _mm256_setr_epi32(static_cast<int>(0x80008000), static_cast<int>(0x80018001), static_cast<int>(0x80028002),
                        static_cast<int>(0x80038003), static_cast<int>(0x80048004), static_cast<int>(0x80058005),
                        static_cast<int>(0x80068006), static_cast<int>(0x80078007));
  uint64_t eight;
  std::memcpy(&eight, p, sizeof eight);
  return _mm256_shuffle_epi8(_mm256_set1_epi64x(static_cast<long long>(eight)), low_bytes);
}
SLUICE_AVX2_STEP __m256i signed_bytes_each_twice(const std::byte* p) {
  const __m256i high_bytes = _mm256_setr_epi32(0x00800080 | 0, 0x01800180, 0x02800280, 0x03800380, 0x04800480,
                                               0x05800580, 0x06800680, 0x07800780);
  uint64_t eight;
  std::memcpy(&eight, p, sizeof eight);
  return _mm256_srai_epi16(_mm256_shuffle_epi8(_mm256_set1_epi64x(static_cast<long long>(eight)), high_bytes), 8);
}

// Group scales and mins of eight rows, each twice. With Mins::Whole a min is a scale, still to be multiplied by the zero.
struct GroupNumbers {
  __m256i scales, mins;
};
template <size_t kIndex>
SLUICE_AVX2_STEP GroupNumbers group_numbers(const std::byte* head, int g) {
  constexpr SideBySide kForm = side_by_side::kForms[kIndex];
  if constexpr (kForm.n_groups() == 0) {
    return {_mm256_set1_epi16(1), _mm256_set1_epi16(1)};
  } else if constexpr (kForm.shares_bytes) {
    const __m256i both = bytes_each_twice(head + kForm.group_scales_at() + kRowGroup * g);
    return {_mm256_and_si256(both, _mm256_set1_epi16(15)), _mm256_srli_epi16(both, 4)};
  } else {
    const __m256i scales = signed_bytes_each_twice(head + kForm.group_scales_at() + kRowGroup * g);
    if constexpr (kForm.has_float_mins())
      return {scales, bytes_each_twice(head + kForm.group_mins_at() + kRowGroup * g)};
    else
      return {scales, scales};
  }
}

// The same for 32 columns, which are one group or two: a scale for each half, and the mins of both halves as pairs.
struct ColumnNumbers {
  __m256i scales[2], mins;
};
template <size_t kIndex>
SLUICE_AVX2_STEP ColumnNumbers column_numbers(const std::byte* head, int g) {
  if constexpr (side_by_side::kForms[kIndex].group == 16) {
    const GroupNumbers a = group_numbers<kIndex>(head, 2 * g), b = group_numbers<kIndex>(head, 2 * g + 1);
    return {{a.scales, b.scales}, _mm256_blend_epi16(a.mins, b.mins, 0xAA)};
  } else {
    const GroupNumbers both = group_numbers<kIndex>(head, g);
    return {{both.scales, both.scales}, both.mins};
  }
}

template <size_t kIndex>
SLUICE_AVX2_STEP __m256 scales_of_head(const std::byte* head) {
  constexpr SideBySide kForm = side_by_side::kForms[kIndex];
  const __m128i stored = _mm_loadu_si128(reinterpret_cast<const __m128i*>(head));
  const __m256 scales = kForm.scale_is_bf16 ? widen_bf16(stored) : _mm256_cvtph_ps(stored);
  return kForm.factor == 1 ? scales : _mm256_mul_ps(scales, _mm256_set1_ps(kForm.factor));
}
template <size_t kIndex>
SLUICE_AVX2_STEP __m256 mins_of_head(const std::byte* head) {
  return _mm256_cvtph_ps(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(head + side_by_side::kForms[kIndex].mins_at())));
}

}  // namespace sluice::kernels::avx2
