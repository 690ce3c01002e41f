// Panels of rows that lie side by side in memory already (kernels/cpu/side_by_side.h).
#if defined(__x86_64__)
#include <utility>

#include "kernels/cpu/avx2/side_by_side.h"

namespace sluice::kernels::avx2 {
namespace {

using side_by_side::kCount;
using side_by_side::kForms;

// Of a head, columns from its first on.
template <size_t kIndex>
SLUICE_AVX2_STEP void store_floats(const std::byte* head, int64_t offset, float* scale, float* min) {
  _mm256_store_ps(scale + offset, scales_of_head<kIndex>(head));
  if constexpr (kForms[kIndex].has_float_mins()) _mm256_store_ps(min + offset, mins_of_head<kIndex>(head));
}

// Codes of 32 columns, g of eight.
template <size_t kIndex>
SLUICE_AVX2_STEP void store_codes(const std::byte* codes, int g, int eight, NarrowPanel& panel) {
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    __m256i steps[4];
    unpack_codes<kIndex>(codes, half, steps);
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p) store_group(panel.codes[8 * g + 4 * half + p], eight, steps[p]);
  }
}

// The same as 16-bit numbers that are multiplied by the group's scale already.
template <size_t kIndex>
SLUICE_AVX2_STEP void store_codes(const std::byte* codes, int g, int eight, const __m256i (&scales)[2],
                                  WidePanel& panel) {
  // Of each row's four bytes the first two, or the last two, to the upper halves of 16-bit numbers.
  const __m256i first_two =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(-1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13));
  const __m256i last_two =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(-1, 2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15));
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    __m256i steps[4];
    unpack_codes<kIndex>(codes, half, steps);
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p) {
      auto& to = panel.codes[2 * (8 * g + 4 * half + p)];
      const __m256i first = _mm256_srai_epi16(_mm256_shuffle_epi8(steps[p], first_two), 8);
      const __m256i last = _mm256_srai_epi16(_mm256_shuffle_epi8(steps[p], last_two), 8);
      const bool is_scaled = kForms[kIndex].group != 0;
      store_group(to, eight, is_scaled ? _mm256_mullo_epi16(first, scales[half]) : first);
      store_group(to + kPanelRows, eight, is_scaled ? _mm256_mullo_epi16(last, scales[half]) : last);
    }
  }
}

// Scales and mins of a super-block.
template <size_t kIndex>
SLUICE_AVX2_STEP void fill_numbers_per256(const std::byte* head, int eight, NarrowPanel& panel) {
  constexpr SideBySide kForm = kForms[kIndex];
  store_floats<kIndex>(head, kRowGroup * eight, panel.scale[0], panel.min[0]);
  __m256i mins[8];
#pragma GCC unroll 8
  for (int g = 0; g < 8; ++g) {
    const ColumnNumbers numbers = column_numbers<kIndex>(head, g);
    store_group(panel.scales[2 * g], eight, numbers.scales[0]);
    if constexpr (kForm.group == 16) store_group(panel.scales[2 * g + 1], eight, numbers.scales[1]);
    mins[g] = kForm.mins == Coding::Mins::Whole ? _mm256_mullo_epi16(numbers.mins, _mm256_set1_epi16(kForm.zero))
                                                : numbers.mins;
    if constexpr (kForm.group == 16)
      store_group(panel.mins[g], eight, mins[g]);
    else if (g % 2 == 1)
      store_group(panel.mins[g / 2], eight, _mm256_blend_epi16(mins[g - 1], mins[g], 0xAA));
  }
}

// Units from `unit` on, n_groups times 32 columns.
template <size_t kIndex>
void fill(const std::byte* unit, int64_t n_groups, int eight, NarrowPanel& panel) {
  constexpr SideBySide kForm = kForms[kIndex];
  if constexpr (kForm.is_per32()) {
    for (int g = 0; g < n_groups; ++g, unit += kForm.unit_bytes()) {
      store_codes<kIndex>(unit, g, eight, panel);
      store_floats<kIndex>(unit + kForm.head_at(), kRowGroup * eight, panel.scale[g], panel.min[g]);
      store_group(panel.mins[g], eight, _mm256_set1_epi16(kForm.zero));
    }
  } else {
    for (int g = 0; g < 8; ++g) store_codes<kIndex>(unit + g * kForm.code_bytes(), g, eight, panel);
    fill_numbers_per256<kIndex>(unit + kForm.head_at(), eight, panel);
  }
}

template <size_t kIndex>
void fill(const std::byte* unit, int64_t n_groups, int eight, WidePanel& panel) {
  constexpr SideBySide kForm = kForms[kIndex];
  constexpr int64_t kGroupsOfUnit = kForm.unit_columns() / 32;
  for (int g = 0; g < n_groups; unit += kForm.unit_bytes()) {
    const std::byte* head = unit + kForm.head_at();
    _mm256_store_ps(panel.scale[g / kGroupsOfUnit] + kRowGroup * eight, scales_of_head<kIndex>(head));
    for (int k = 0; k < kGroupsOfUnit; ++k, ++g)
      store_codes<kIndex>(unit + k * kForm.code_bytes(), g, eight, column_numbers<kIndex>(head, k).scales, panel);
  }
}

template <size_t kIndex>
void fill_panel(const std::byte* group, int64_t n_columns, int64_t first_column, int eight, void* panel) {
  constexpr SideBySide kForm = kForms[kIndex];
  const std::byte* unit = group + first_column / kForm.unit_columns() * kForm.unit_bytes();
  const int64_t n_groups = smaller(8, (n_columns - first_column) / 32);
  using Panel = std::conditional_t<kForm.is_signed(), WidePanel, NarrowPanel>;
  fill<kIndex>(unit, n_groups, eight, *static_cast<Panel*>(panel));
}

template <size_t... kIndex>
constexpr std::array<ResidentForm::FillPanel*, kCount> all(std::index_sequence<kIndex...>) {
  return {fill_panel<kIndex>...};
}

}  // namespace

constinit const std::array<ResidentForm::FillPanel*, kCount> kSideBySideFills = all(std::make_index_sequence<kCount>());

}  // namespace sluice::kernels::avx2
#endif
