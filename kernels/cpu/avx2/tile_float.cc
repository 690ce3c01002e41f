// A tile of rows of floats (F32, F16, BF16, and any format dequantised) times many inputs in float32. The order of sums is
// that of float_rows.cc, with a piece a panel.
#if defined(__x86_64__)
#include "kernels/cpu/avx2/load_floats.h"
#include "kernels/cpu/avx2/panel.h"
#include "kernels/cpu/tile_walk.h"

namespace sluice::kernels::avx2 {
namespace {

// n_columns values at `row` to row r of the panel, those after the end of a vector as zeros.
template <typename Load>
SLUICE_AVX2_STEP void fill_row(const std::byte* row, int64_t n_columns, int64_t r, FloatPanel& panel) {
  auto& to = panel.values[r / 4];
  int64_t k = 0;
  for (; 8 * k + 8 <= n_columns; ++k) _mm256_store_ps(to[k][r % 4], Load::eight(row + 8 * k * Load::kBytes));
  if (8 * k == n_columns) return;
  alignas(32) std::byte rest[32] = {};
  std::memcpy(rest, row + 8 * k * Load::kBytes, static_cast<size_t>((n_columns - 8 * k) * Load::kBytes));
  _mm256_store_ps(to[k][r % 4], Load::eight(rest));
}

}  // namespace

void fill_float_panel(const TileJob& job, int64_t first_column, int index, FloatPanel& panel) {
  const int64_t n_columns = smaller(kPanelColumns, job.n_columns - first_column);
  const gguf::TypeLayout& layout = *job.format->layout;
  const uint64_t at = static_cast<uint64_t>(first_column / layout.block_values) * layout.block_bytes;
  for (int64_t r = 0; r < kPanelRows; ++r) {
    const std::byte* blocks = job.rows[index * kPanelRows + r] + at;
    switch (job.format->type) {
      case gguf::TensorType::F32:
        fill_row<LoadF32>(blocks, n_columns, r, panel);
        break;
      case gguf::TensorType::F16:
        fill_row<LoadF16>(blocks, n_columns, r, panel);
        break;
      case gguf::TensorType::BF16:
        fill_row<LoadBF16>(blocks, n_columns, r, panel);
        break;
      default: {
        alignas(32) float row[kPanelColumns];
        job.dequantize(blocks, n_columns, row);
        fill_row<LoadF32>(reinterpret_cast<const std::byte*>(row), n_columns, r, panel);
      }
    }
  }
}

namespace {

// add_lanes() of four rows at once, each added to its place.
SLUICE_AVX2_STEP void add_four_rows(const __m256 (&of_row)[4], float* to) {
  __m128 half[4];
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r)
    half[r] = _mm_add_ps(_mm256_castps256_ps128(of_row[r]), _mm256_extractf128_ps(of_row[r], 1));
  const __m128 even_odd_01 = _mm_add_ps(_mm_unpacklo_ps(half[0], half[1]), _mm_unpackhi_ps(half[0], half[1]));
  const __m128 even_odd_23 = _mm_add_ps(_mm_unpacklo_ps(half[2], half[3]), _mm_unpackhi_ps(half[2], half[3]));
  const __m128 sums = _mm_add_ps(_mm_movelh_ps(even_odd_01, even_odd_23), _mm_movehl_ps(even_odd_23, even_odd_01));
  _mm_storeu_ps(to, _mm_add_ps(_mm_loadu_ps(to), sums));
}

// N inputs times the panel, four rows at a time: 12 chains for three inputs keep both multipliers busy.
template <int N>
SLUICE_AVX2_LOOP void multiply_panel(const FloatPanel& panel, int64_t n_columns, const FloatInputs<N>& x, float* out) {
  for (int64_t four = 0; four < kPanelRows / 4; ++four) {
    __m256 sums[N][4];
    for (auto& of_input : sums)
      for (__m256& sum : of_input) sum = _mm256_setzero_ps();
    for (int64_t k = 0; 8 * k < n_columns; ++k) {
      __m256 input[N];
#pragma GCC unroll 3
      for (int i = 0; i < N; ++i) input[i] = _mm256_loadu_ps(x.values[k][i]);
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        const __m256 w = _mm256_load_ps(panel.values[four][k][r]);
#pragma GCC unroll 3
        for (int i = 0; i < N; ++i) sums[i][r] = _mm256_fmadd_ps(w, input[i], sums[i][r]);
      }
    }
    for (int i = 0; i < N; ++i) add_four_rows(sums[i], out + i * kTileRows + 4 * four);
  }
}

}  // namespace

void multiply_tile_float(const TileJob& job) {
  walk_tile<3, 1, FloatPanel>(job, fill_float_panel,
                              [&]<int N>(const FloatPanel* panels, int64_t n_columns, const std::byte* x, float* out,
                                         std::integral_constant<int, N>) {
                                multiply_panel<N>(*panels, n_columns, *reinterpret_cast<const FloatInputs<N>*>(x), out);
                              });
}

}  // namespace sluice::kernels::avx2
#endif
