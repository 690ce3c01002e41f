// Products with few inputs of rows that lie side by side (kernels/cpu/side_by_side.h): eight rows in the lanes of a vector.
//
// Four columns of eight rows are one vector of codes, multiplied by four bytes of the input, broadcast from memory. Pairs
// of products are added in 16 bits as long as the largest code allows, then multiplied by their group's scale.
#if defined(__x86_64__)
#include "kernels/cpu/avx2/side_by_side.h"

#include <utility>

namespace sluice::kernels::avx2 {
namespace {

using side_by_side::kCount;
using side_by_side::kForms;

// Steps whose pairs may be added in 16 bits, a divisor of those of a group: a pair is at most 2 * 127 * largest code.
constexpr int safe_steps(const SideBySide& form) {
  const int steps = 32767 / (254 * form.largest_code());
  return steps >= 8 && form.group != 16 ? 8 : steps >= 4 ? 4 : steps >= 2 ? 2 : 1;
}

// Adds 32 columns, under a scale for each half, to the whole sums. q: the inputs at these columns.
template <size_t kIndex, int N>
SLUICE_AVX2_STEP void add_columns(const std::byte* codes, const int8_t* const (&q)[N], const __m256i (&scales)[2],
                                  __m256i (&whole)[N]) {
  constexpr int kSteps = safe_steps(kForms[kIndex]);
  __m256i pairs[N];
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    __m256i weights[4];
    unpack_codes<kIndex>(codes, half, weights);
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p) {
      const int step = 4 * half + p;
#pragma GCC unroll 3
      for (int i = 0; i < N; ++i) {
        const __m256i x = broadcast_four_bytes(q[i] + 4 * step);
        const __m256i products = kForms[kIndex].is_signed() ? _mm256_maddubs_epi16(_mm256_abs_epi8(weights[p]),
                                                                                   _mm256_sign_epi8(x, weights[p]))
                                                            : _mm256_maddubs_epi16(weights[p], x);
        pairs[i] = step % kSteps == 0 ? products : _mm256_add_epi16(pairs[i], products);
        keep_in_register(pairs[i]);
        if (step % kSteps == kSteps - 1) {
          whole[i] = _mm256_add_epi32(whole[i], _mm256_madd_epi16(pairs[i], scales[half]));
          keep_in_register(whole[i]);
        }
      }
    }
  }
}

template <size_t kIndex, int N>
SLUICE_AVX2_STEP void multiply_per256(const std::byte* unit, int64_t n_columns, const void* const* inputs, float* out) {
  constexpr SideBySide kForm = kForms[kIndex];
  const reference::Activation256* x[N];
  __m256 sums[N];
  for (int i = 0; i < N; ++i) {
    x[i] = static_cast<const reference::Activation256*>(inputs[i]);
    sums[i] = _mm256_setzero_ps();
  }
  for (int64_t b = 0; b < n_columns / 256; ++b, unit += kForm.unit_bytes()) {
    const std::byte* codes = unit;
    const std::byte* head = unit + kForm.head_at();
    prefetch_ahead<kForm.head_bytes()>(head);
    __m256i whole[N], away[N];
    for (int i = 0; i < N; ++i) whole[i] = away[i] = _mm256_setzero_si256();
#pragma GCC unroll 1
    for (int g = 0; g < 8; ++g, codes += kForm.code_bytes()) {
      prefetch_ahead<kForm.code_bytes()>(codes);  // a few lines at a time: a core waits for so many only
      const ColumnNumbers numbers = column_numbers<kIndex>(head, g);
      const int8_t* q[N];
      for (int i = 0; i < N; ++i) q[i] = x[i][b].q + 32 * g;
      add_columns<kIndex, N>(codes, q, numbers.scales, whole);
      if constexpr (kForm.mins != Coding::Mins::None)
        for (int i = 0; i < N; ++i)
          away[i] =
              _mm256_add_epi32(away[i], _mm256_madd_epi16(numbers.mins, broadcast_four_bytes(x[i][b].sums + 2 * g)));
    }
    const __m256 scale = scales_of_head<kIndex>(head);
    for (int i = 0; i < N; ++i) {
      const __m256 input_scale = _mm256_set1_ps(x[i][b].scale);
      if constexpr (kForm.mins == Coding::Mins::Whole)
        whole[i] = _mm256_sub_epi32(whole[i], _mm256_mullo_epi32(away[i], _mm256_set1_epi32(kForm.zero)));
      sums[i] = _mm256_fmadd_ps(_mm256_mul_ps(scale, input_scale), _mm256_cvtepi32_ps(whole[i]), sums[i]);
      if constexpr (kForm.has_float_mins())
        sums[i] = _mm256_fnmadd_ps(_mm256_mul_ps(mins_of_head<kIndex>(head), input_scale), _mm256_cvtepi32_ps(away[i]),
                                   sums[i]);
    }
  }
  for (int i = 0; i < N; ++i) _mm256_storeu_ps(out + i * kRowGroup, sums[i]);
}

template <size_t kIndex, int N>
SLUICE_AVX2_STEP void multiply_per32(const std::byte* unit, int64_t n_columns, const void* const* inputs, float* out) {
  constexpr SideBySide kForm = kForms[kIndex];
  const __m256i ones[2] = {_mm256_set1_epi16(1), _mm256_set1_epi16(1)};
  const reference::Activation32* x[N];
  __m256 sums[N];
  for (int i = 0; i < N; ++i) {
    x[i] = static_cast<const reference::Activation32*>(inputs[i]);
    sums[i] = _mm256_setzero_ps();
  }
#pragma GCC unroll 1
  for (int64_t g = 0; g < n_columns / 32; ++g, unit += kForm.unit_bytes()) {
    prefetch_ahead<kForm.unit_bytes()>(unit);
    __m256i whole[N];
    const int8_t* q[N];
    for (int i = 0; i < N; ++i) {
      whole[i] = _mm256_setzero_si256();
      q[i] = x[i][g].q;
    }
    add_columns<kIndex, N>(unit, q, ones, whole);
    const std::byte* head = unit + kForm.head_at();
    const __m256 scale = scales_of_head<kIndex>(head);
    for (int i = 0; i < N; ++i) {
      const reference::Activation32& input = x[i][g];
      const __m256 input_scale = _mm256_set1_ps(input.scale);
      if constexpr (kForm.mins == Coding::Mins::Whole)  // the sum fits in 16 bits: (zero, 0) times (sum, its sign)
        whole[i] = _mm256_sub_epi32(whole[i],
                                    _mm256_madd_epi16(_mm256_set1_epi32(kForm.zero), broadcast_four_bytes(&input.sum)));
      sums[i] = _mm256_fmadd_ps(_mm256_mul_ps(scale, input_scale), _mm256_cvtepi32_ps(whole[i]), sums[i]);
      if constexpr (kForm.has_float_mins())
        sums[i] = _mm256_fnmadd_ps(_mm256_mul_ps(mins_of_head<kIndex>(head), input_scale),
                                   _mm256_set1_ps(static_cast<float>(input.sum)), sums[i]);
    }
  }
  for (int i = 0; i < N; ++i) _mm256_storeu_ps(out + i * kRowGroup, sums[i]);
}

template <size_t kIndex, int N>
void multiply(const std::byte* group, int64_t n_columns, const void* const* inputs, float* out) {
  if constexpr (kForms[kIndex].is_per32())
    multiply_per32<kIndex, N>(group, n_columns, inputs, out);
  else
    multiply_per256<kIndex, N>(group, n_columns, inputs, out);
}

template <size_t kIndex>
void multiply_group(const std::byte* group, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                    float* out) {
  for (; n_inputs >= 3; n_inputs -= 3, inputs += 3, out += 3 * kRowGroup)
    multiply<kIndex, 3>(group, n_columns, inputs, out);
  if (n_inputs == 2) multiply<kIndex, 2>(group, n_columns, inputs, out);
  if (n_inputs == 1) multiply<kIndex, 1>(group, n_columns, inputs, out);
}

template <size_t... kIndex>
constexpr std::array<ResidentForm::GroupProduct*, kCount> all(std::index_sequence<kIndex...>) {
  return {multiply_group<kIndex>...};
}

}  // namespace

constinit const std::array<ResidentForm::GroupProduct*, kCount> kSideBySideProducts =
    all(std::make_index_sequence<kCount>());

}  // namespace sluice::kernels::avx2
#endif
