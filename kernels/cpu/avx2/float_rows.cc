// Rows of floats (F32, F16, BF16, and any format dequantised) times inputs in float32.
//
// A row and an input are cut into pieces of 256 columns. In a piece lane k % 8 adds column k with fused multiply-adds;
// the eight lanes are added pairwise, and the pieces in order. The product here and that of tiles (tile_float.cc) do just
// that, so a result depends neither on how many inputs nor on how many rows are multiplied together.
#if defined(__x86_64__)
#include "kernels/cpu/avx2/formats.h"
#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/avx2/load_floats.h"
#include "kernels/cpu/input_panels.h"

namespace sluice::kernels::avx2 {
namespace {

constexpr int64_t kPiece = kPanelColumns;  // tiles add the lanes of a sum once a panel

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

}  // namespace sluice::kernels::avx2
#endif
