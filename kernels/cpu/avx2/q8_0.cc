// Q8_0, 34 bytes | scale f16 | q i8 x 32 |: value = scale * q.
#if defined(__x86_64__)
#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/avx2/row_products.h"

namespace sluice::kernels::avx2 {
namespace {

struct KernelQ8_0 {
  template <int N>
  static void multiply(const std::byte* row, int64_t n_columns, const reference::Activation32* const* x, float* out) {
    __m256 sums[N];
    for (int i = 0; i < N; ++i) sums[i] = _mm256_setzero_ps();
    for (int64_t b = 0; b < n_columns / 32; ++b, row += 34) {
      const float scale = load_half(row);
      const __m256i q = load_bytes(row + 2);
      for (int i = 0; i < N; ++i) {
        const reference::Activation32& input = x[i][b];
        const __m256 dot = _mm256_cvtepi32_ps(dot_signed(q, load_bytes(input.q)));
        sums[i] = _mm256_fmadd_ps(_mm256_set1_ps(scale * input.scale), dot, sums[i]);
      }
    }
    for (int i = 0; i < N; ++i) out[i] = sum_lanes(sums[i]);
  }
};

}  // namespace

void multiply_row_q8_0(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                       float* out) {
  for_inputs<KernelQ8_0, reference::Activation32>(row, n_columns, inputs, n_inputs, out);
}

}  // namespace sluice::kernels::avx2
#endif
