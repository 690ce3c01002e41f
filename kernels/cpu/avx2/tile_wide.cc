// A tile of rows with signed codes times many inputs: codes times the group's scale in 16 bits, two columns a step.
// vpmaddwd multiplies 16 of them by 16 codes of an input and adds neighbours into 32 bits, where 256 columns fit.
#if defined(__x86_64__)
#include <type_traits>

#include "kernels/cpu/avx2/panel.h"
#include "kernels/cpu/tile_walk.h"

namespace sluice::kernels::avx2 {

void fill_wide_panel(const TileJob& job, int64_t first_column, int index, WidePanel& panel) {
  if (job.form != nullptr) {
    for (int group = 0; group < kGroups; ++group)
      job.fill_panel(job.groups[index * kGroups + group], job.n_columns, first_column, group, &panel);
    return;
  }
  const Format& format = *job.format;
  const gguf::TypeLayout& layout = *format.layout;
  const bool is_per32 = format.activation == ActivationFormat::Per32;
  const int64_t n_values = smaller(256, job.n_columns - first_column);
  const uint64_t at = static_cast<uint64_t>(first_column / layout.block_values) * layout.block_bytes;
  struct Row {
    CodedValues coded;
    alignas(32) int16_t scaled[256];
  };
  for (int group = 0; group < kGroups; ++group) {
    Row rows[kRowGroup];
    const int column = group * kRowGroup;
    for (int r = 0; r < kRowGroup; ++r) {
      CodedValues& coded = rows[r].coded;
      job.unpack(job.rows[index * kPanelRows + column + r] + at, n_values, coded);
      for (int j = 0; j < 16; ++j) {
        __m256i codes = _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(coded.codes + 16 * j)));
        if (!is_per32) codes = _mm256_mullo_epi16(codes, _mm256_set1_epi16(coded.group_scales[j]));
        _mm256_store_si256(reinterpret_cast<__m256i*>(rows[r].scaled + 16 * j), codes);
      }
    }
    for (int k = 0; k < 128; k += 8) transpose_8x8(rows[0].scaled + 2 * k, sizeof(Row), panel.codes[k][column]);
    if (is_per32)
      transpose_8x8(rows[0].coded.scale, sizeof(Row), &panel.scale[0][column]);
    else
      for (int r = 0; r < kRowGroup; ++r) panel.scale[0][column + r] = rows[r].coded.scale[0];
  }
}

namespace {

// Adds columns [2 * first_step, 2 * (first_step + n_steps)) of N inputs under one scale each to out, [N, kTileRows].
template <int N>
SLUICE_AVX2_STEP void add_steps(const WidePanel& panel, int first_step, int n_steps, const float* scale,
                                const WideInputs<N>& x, const float* x_scale, float* out) {
  __m256i whole[kGroups][N];
#pragma GCC unroll 2
  for (int r = 0; r < kGroups; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) whole[r][i] = _mm256_setzero_si256();
#pragma GCC unroll 4
  for (int step = first_step; step < first_step + n_steps; ++step) {
    __m256i weights[kGroups];
    for (int r = 0; r < kGroups; ++r) weights[r] = load_group(panel.codes[step], r);
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) {
      const __m256i input = broadcast_four_bytes(x.q[step][i]);
#pragma GCC unroll 2
      for (int r = 0; r < kGroups; ++r) add_32_bits(whole[r][i], _mm256_madd_epi16(weights[r], input));
    }
  }
#pragma GCC unroll 2
  for (int r = 0; r < kGroups; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) {
      float* to = out + i * kTileRows + 8 * r;
      const __m256 both = _mm256_mul_ps(_mm256_load_ps(scale + 8 * r), _mm256_broadcast_ss(x_scale + i));
      _mm256_storeu_ps(to, _mm256_fmadd_ps(both, _mm256_cvtepi32_ps(whole[r][i]), _mm256_loadu_ps(to)));
    }
}

template <int N, bool kPer32>
SLUICE_AVX2_LOOP void multiply_panel(const WidePanel& panel, int64_t n_groups, const WideInputs<N>& x, float* out) {
  if constexpr (kPer32)
    for (int g = 0; g < n_groups; ++g) add_steps<N>(panel, 16 * g, 16, panel.scale[g], x, x.scale[g], out);
  else
    add_steps<N>(panel, 0, 128, panel.scale[0], x, x.scale[0], out);
}

template <bool kPer32>
void multiply_tile(const TileJob& job) {
  walk_tile<4, kPanels, WidePanel>(job, fill_wide_panel,
                                   [&]<int N>(const WidePanel* panels, int64_t n_columns, const std::byte* x,
                                              float* out, std::integral_constant<int, N>) {
                                     for (int p = 0; p < kPanels; ++p, out += kPanelRows)
                                       multiply_panel<N, kPer32>(panels[p], n_columns / 32,
                                                                 *reinterpret_cast<const WideInputs<N>*>(x), out);
                                   });
}

}  // namespace

void multiply_tile_wide(const TileJob& job) {
  if (job.format->activation == ActivationFormat::Per32)
    multiply_tile<true>(job);
  else
    multiply_tile<false>(job);
}

}  // namespace sluice::kernels::avx2
#endif
