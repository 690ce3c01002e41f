// Rows of floats (F32, F16, BF16, and any format dequantised) times inputs in float32.
//
// A row and an input are cut into pieces of 512 columns. In a piece lane k % 8 adds column k with fused multiply-adds;
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

constexpr int64_t kPiece = 512;

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

// 16 rows as floats, a piece long, zeros after its end: 32 KiB.
struct Panel {
  alignas(64) float values[kPanelRows][kPiece];
};

void fill_panel(const TileJob& job, int64_t first, int64_t n_columns, int index, Panel& panel) {
  const gguf::TypeLayout& layout = *job.format->layout;
  const uint64_t at = static_cast<uint64_t>(first / layout.block_values) * layout.block_bytes;
  for (int64_t r = 0; r < kPanelRows; ++r) {
    const std::byte* from = job.rows[index * kPanelRows + r] + at;
    float* to = panel.values[r];
    job.dequantize(from, n_columns, to);
    for (int64_t c = n_columns; c % 8 != 0; ++c) to[c] = 0;
  }
}

// N inputs times the tile, four rows at a time: 12 chains for three inputs keep both multipliers busy.
template <int N>
void multiply_panel(const Panel& panel, int64_t first, int64_t n_columns, const void* const* inputs, float* out) {
  const float* x[N];
  for (int i = 0; i < N; ++i) x[i] = static_cast<const float*>(inputs[i]) + first;
  const int64_t n_whole = n_columns / 8 * 8;
  for (int64_t row = 0; row < kPanelRows; row += 4) {
    __m256 sums[4][N];
    for (auto& of_row : sums)
      for (__m256& sum : of_row) sum = _mm256_setzero_ps();
    const float* weights = panel.values[row];
    for (int64_t c = 0; c < n_whole; c += 8) {
      __m256 input[N];
#pragma GCC unroll 3
      for (int i = 0; i < N; ++i) input[i] = _mm256_loadu_ps(x[i] + c);
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        const __m256 w = _mm256_load_ps(weights + r * kPiece + c);
#pragma GCC unroll 3
        for (int i = 0; i < N; ++i) sums[r][i] = _mm256_fmadd_ps(w, input[i], sums[r][i]);
      }
    }
    if (n_whole < n_columns)
      for (int i = 0; i < N; ++i) {
        const __m256 input = _mm256_maskload_ps(x[i] + n_whole, first_lanes(n_columns - n_whole));
        for (int r = 0; r < 4; ++r)
          sums[r][i] = _mm256_fmadd_ps(_mm256_load_ps(weights + r * kPiece + n_whole), input, sums[r][i]);
      }
    for (int r = 0; r < 4; ++r)
      for (int i = 0; i < N; ++i) out[i * kTileRows + row + r] += add_lanes(sums[r][i]);
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
  for (int64_t i = 0; i < job.n_inputs * kTileRows; ++i) job.out[i] = 0;
  Panel panel;
  for (int64_t first = 0; first < job.n_columns; first += kPiece) {
    const int64_t n_columns = smaller(kPiece, job.n_columns - first);
    for (int p = 0; p < kPanels; ++p) {
      fill_panel(job, first, n_columns, p, panel);
      const auto run = [&]<int N>(int64_t i, std::integral_constant<int, N>) {
        multiply_panel<N>(panel, first, n_columns, job.inputs + i, job.out + i * kTileRows + p * kPanelRows);
      };
      int64_t i = 0;
      for (; i + 3 <= job.n_inputs; i += 3) run(i, std::integral_constant<int, 3>{});
      for (; i < job.n_inputs; ++i) run(i, std::integral_constant<int, 1>{});
    }
  }
}

}  // namespace sluice::kernels::avx2
#endif
