// Q4_0 Q4_1 Q5_0 Q5_1: blocks of 32 unsigned codes of 4 or 5 bits.
//
//   Q4_0  18 bytes | scale f16 | q 16                         | value = scale * q - 8 * scale
//   Q4_1  20 bytes | scale f16 | offset f16 | q 16            | value = scale * q + offset
//   Q5_0  22 bytes | scale f16 | high u32 | q 16              | value = scale * q - 16 * scale
//   Q5_1  24 bytes | scale f16 | offset f16 | high u32 | q 16 | value = scale * q + offset
//
// The constant part of a block multiplies the sum of the activations, which their 8-bit form brings along.
#if defined(__x86_64__)
#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/avx2/row_products.h"

namespace sluice::kernels::avx2 {
namespace {

template <bool kFiveBits, bool kHasOffset>
struct KernelQ4Q5 {
  static constexpr int64_t kHighAt = kHasOffset ? 4 : 2;
  static constexpr int64_t kCodesAt = kHighAt + (kFiveBits ? 4 : 0);
  static constexpr int64_t kBlockBytes = kCodesAt + 16;
  static constexpr float kZero = kFiveBits ? 16.0f : 8.0f;  // the code that means 0 where there is no offset

  template <int N>
  static void multiply(const std::byte* row, int64_t n_columns, const reference::Activation32* const* x, float* out) {
    __m256 sums[N];
    float offsets[N];
    for (int i = 0; i < N; ++i) sums[i] = _mm256_setzero_ps(), offsets[i] = 0;
    for (int64_t b = 0; b < n_columns / 32; ++b, row += kBlockBytes) {
      const float scale = load_half(row);
      const float offset = kHasOffset ? load_half(row + 2) : -kZero * scale;
      __m256i q = unpack_nibbles(row + kCodesAt);
      if constexpr (kFiveBits)
        q = _mm256_or_si256(q, _mm256_and_si256(spread_bits(load_u32(row + kHighAt)), _mm256_set1_epi8(16)));
      for (int i = 0; i < N; ++i) {
        const reference::Activation32& input = x[i][b];
        const __m256 dot = _mm256_cvtepi32_ps(dot_unsigned(q, load_bytes(input.q)));
        sums[i] = _mm256_fmadd_ps(_mm256_set1_ps(scale * input.scale), dot, sums[i]);
        offsets[i] += offset * input.scale * static_cast<float>(input.sum);
      }
    }
    for (int i = 0; i < N; ++i) out[i] = sum_lanes(sums[i]) + offsets[i];
  }
};

}  // namespace

void multiply_row_q4_0(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                       float* out) {
  for_inputs<KernelQ4Q5<false, false>, reference::Activation32>(row, n_columns, inputs, n_inputs, out);
}
void multiply_row_q4_1(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                       float* out) {
  for_inputs<KernelQ4Q5<false, true>, reference::Activation32>(row, n_columns, inputs, n_inputs, out);
}
void multiply_row_q5_0(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                       float* out) {
  for_inputs<KernelQ4Q5<true, false>, reference::Activation32>(row, n_columns, inputs, n_inputs, out);
}
void multiply_row_q5_1(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                       float* out) {
  for_inputs<KernelQ4Q5<true, true>, reference::Activation32>(row, n_columns, inputs, n_inputs, out);
}

}  // namespace sluice::kernels::avx2
#endif
