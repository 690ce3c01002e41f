// Rows of floats (F32, F16, BF16, and any format dequantised) times inputs in float32.
//
// A row and an input are cut into pieces of 256 columns. In a piece lane k % 8 adds column k with fused multiply-adds;
// the eight lanes are added pairwise, and the pieces in order. Both products below do just that, so a result depends
// neither on how many inputs nor on how many rows are multiplied together.
#if defined(__x86_64__)
#include <type_traits>

#include "kernels/cpu/avx2/formats.h"
#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/avx2/panel.h"
#include "kernels/cpu/tile.h"

namespace sluice::kernels::avx2 {
namespace {

constexpr int64_t kPiece = 256;

struct LoadF32 {
  static constexpr int64_t kBytes = 4;
  SLUICE_AVX2_STEP __m256 eight(const std::byte* p) { return _mm256_loadu_ps(reinterpret_cast<const float*>(p)); }
};
struct LoadF16 {
  static constexpr int64_t kBytes = 2;
  SLUICE_AVX2_STEP __m256 eight(const std::byte* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
};
struct LoadBF16 {
  static constexpr int64_t kBytes = 2;
  SLUICE_AVX2_STEP __m256 eight(const std::byte* p) {
    return widen_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
};

// Eight rows side by side, each with a chain of its own.
template <typename Load>
SLUICE_AVX2_STEP void multiply_row_group(const std::byte* const* rows, int64_t n_columns, const void* const* inputs,
                                         int64_t n_inputs, float* out) {
  for (int64_t i = 0; i < n_inputs; ++i) {
    const auto* x = static_cast<const float*>(inputs[i]);
    float totals[kRowGroup] = {};
    for (int64_t first = 0; first < n_columns; first += kPiece) {
      const int64_t end = first + smaller(kPiece, n_columns - first);
      __m256 sums[kRowGroup];
      for (__m256& sum : sums) sum = _mm256_setzero_ps();
      int64_t c = first;
      for (; c + 8 <= end; c += 8) {
        const __m256 input = _mm256_loadu_ps(x + c);
#pragma GCC unroll 8
        for (int r = 0; r < kRowGroup; ++r)
          sums[r] = _mm256_fmadd_ps(Load::eight(rows[r] + c * Load::kBytes), input, sums[r]);
      }
      if (c < end) {
        const __m256 input = _mm256_maskload_ps(x + c, first_lanes(end - c));
        for (int r = 0; r < kRowGroup; ++r) {
          alignas(32) std::byte rest[32] = {};
          std::memcpy(rest, rows[r] + c * Load::kBytes, static_cast<size_t>((end - c) * Load::kBytes));
          sums[r] = _mm256_fmadd_ps(Load::eight(rest), input, sums[r]);
        }
      }
      for (int r = 0; r < kRowGroup; ++r) totals[r] += add_lanes(sums[r]);
    }
    for (int r = 0; r < kRowGroup; ++r) out[i * kRowGroup + r] = totals[r];
  }
}

// 16 rows as floats, a piece long, zeros after its end, in four fours whose columns lie side by side: 16 KiB, so that a
// panel and a group of inputs stay in the first-level cache, and each byte of an input that comes from the second level
// meets 16 rows.
constexpr int64_t kFours = kPanelRows / 4;
struct Panel {
  alignas(64) float values[kFours][kPiece / 8][4][8];
};

// n_columns values at `row` to row r of the panel, those after the end of a vector as zeros.
template <typename Load>
SLUICE_AVX2_STEP void fill_row(const std::byte* row, int64_t n_columns, int64_t r, Panel& panel) {
  auto& to = panel.values[r / 4];
  int64_t k = 0;
  for (; 8 * k + 8 <= n_columns; ++k) _mm256_store_ps(to[k][r % 4], Load::eight(row + 8 * k * Load::kBytes));
  if (8 * k == n_columns) return;
  alignas(32) std::byte rest[32] = {};
  std::memcpy(rest, row + 8 * k * Load::kBytes, static_cast<size_t>((n_columns - 8 * k) * Load::kBytes));
  _mm256_store_ps(to[k][r % 4], Load::eight(rest));
}

void fill_panel(const TileJob& job, int64_t first, int64_t n_columns, int index, Panel& panel) {
  const gguf::TypeLayout& layout = *job.format->layout;
  const uint64_t at = static_cast<uint64_t>(first / layout.block_values) * layout.block_bytes;
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
        alignas(32) float row[kPiece];
        job.dequantize(blocks, n_columns, row);
        fill_row<LoadF32>(reinterpret_cast<const std::byte*>(row), n_columns, r, panel);
      }
    }
  }
}

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
SLUICE_AVX2_LOOP void multiply_panel(const Panel& panel, int64_t n_columns, const FloatInputs<N>& x, float* out) {
  for (int64_t four = 0; four < kFours; ++four) {
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

void multiply_f32(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                  float* out) {
  multiply_row_group<LoadF32>(rows, n_columns, inputs, n_inputs, out);
}
void multiply_f16(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                  float* out) {
  multiply_row_group<LoadF16>(rows, n_columns, inputs, n_inputs, out);
}
void multiply_bf16(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                   float* out) {
  multiply_row_group<LoadBF16>(rows, n_columns, inputs, n_inputs, out);
}

void multiply_tile_float(const TileJob& job) {
  clear_sums(job);
  Panel panel;
  for (int64_t first = 0; first < job.n_columns; first += kPiece) {
    const int64_t n_columns = smaller(kPiece, job.n_columns - first);
    for (int p = 0; p < kPanels; ++p) {
      fill_panel(job, first, n_columns, p, panel);
      const bool is_last = p + 1 == kPanels;
      prefetch_rows(job, is_last ? 0 : (p + 1) * kPanelRows, kPanelRows, is_last ? first + kPiece : first, kPiece);
      const auto run = [&]<int N>(const std::byte* x, float* out, std::integral_constant<int, N>) {
        multiply_panel<N>(panel, n_columns, *reinterpret_cast<const FloatInputs<N>*>(x), out + p * kPanelRows);
      };
      for_input_groups<3>(job, first / kPiece, run);
    }
  }
}

}  // namespace sluice::kernels::avx2
#endif
