// MXFP4: 4-bit floats under a power of two. TQ2_0: ternary digits of 2 bits.
//
//   MXFP4  17 bytes, 32 values  | scale e8m0 | q 16 |    value = 2^(e - 128) * table[q], the table twice the 4-bit floats
//            values 0 to 15 in the low nibbles of q, 16 to 31 in the high ones
//   TQ2_0  66 bytes, 256 values | q 64 | scale f16 |     value = scale * (t - 1)
//            value v: byte 32*(v/128) + v%32, the pair of bits (v/32)%4
#if defined(__x86_64__)
#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/avx2/row_products.h"

namespace sluice::kernels::avx2 {
namespace {

// 2^(e - 128); the smallest two are subnormal.
SLUICE_AVX2_STEP float half_of_e8m0(uint32_t e) {
  const uint32_t bits = e < 2 ? 0x00200000u << e : (e - 1) << 23;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

struct KernelMXFP4 {
  template <int N>
  static void multiply(const std::byte* row, int64_t n_columns, const reference::Activation32* const* x, float* out) {
    const __m128i table = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    __m256 sums[N];
    for (int i = 0; i < N; ++i) sums[i] = _mm256_setzero_ps();
    for (int64_t b = 0; b < n_columns / 32; ++b, row += 17) {
      const float scale = half_of_e8m0(static_cast<uint32_t>(row[0]));
      const __m256i w = _mm256_shuffle_epi8(_mm256_set_m128i(table, table), unpack_nibbles(row + 1));
      for (int i = 0; i < N; ++i) {
        const reference::Activation32& input = x[i][b];
        const __m256 dot = _mm256_cvtepi32_ps(dot_signed(w, load_bytes(input.q)));
        sums[i] = _mm256_fmadd_ps(_mm256_set1_ps(scale * input.scale), dot, sums[i]);
      }
    }
    for (int i = 0; i < N; ++i) out[i] = sum_lanes(sums[i]);
  }
};

struct KernelTQ2_0 {
  template <int N>
  static void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x, float* out) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256 sums[N];
    for (int i = 0; i < N; ++i) sums[i] = _mm256_setzero_ps();
    for (int64_t b = 0; b < n_columns / 256; ++b, row += 66) {
      const float scale = load_half(row + 64);
      // Minus the sum of the activations, for the -1; the sums of 8 pairs of products stay far below 16 bits.
      __m256i dots[N];
      for (int i = 0; i < N; ++i) dots[i] = _mm256_sub_epi16(_mm256_setzero_si256(), load_bytes(x[i][b].sums));
      for (int half = 0; half < 2; ++half) {
        __m256i digits = load_bytes(row + 32 * half);
        for (int g = 4 * half; g < 4 * half + 4; ++g, digits = _mm256_srli_epi16(digits, 2)) {
          const __m256i t = _mm256_and_si256(digits, _mm256_set1_epi8(3));
          for (int i = 0; i < N; ++i)
            dots[i] = _mm256_add_epi16(dots[i], _mm256_maddubs_epi16(t, load_bytes(x[i][b].q + 32 * g)));
        }
      }
      for (int i = 0; i < N; ++i)
        sums[i] = _mm256_fmadd_ps(_mm256_set1_ps(scale * x[i][b].scale),
                                  _mm256_cvtepi32_ps(_mm256_madd_epi16(dots[i], ones)), sums[i]);
    }
    for (int i = 0; i < N; ++i) out[i] = sum_lanes(sums[i]);
  }
};

}  // namespace

void multiply_row_mxfp4(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                        float* out) {
  for_inputs<KernelMXFP4, reference::Activation32>(row, n_columns, inputs, n_inputs, out);
}
void multiply_row_tq2_0(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                        float* out) {
  for_inputs<KernelTQ2_0, reference::Activation256>(row, n_columns, inputs, n_inputs, out);
}

}  // namespace sluice::kernels::avx2
#endif
