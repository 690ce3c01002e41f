// Q8_K and Q1_0: signed bytes under a float; single bits.
//
//   Q8_K  292 bytes, 256 values | scale f32 | q i8 x 256 | sums i16 x 16 |   value = scale * q
//   Q1_0   18 bytes, 128 values | scale f16 | signs 16 |                     value = bit ? scale : -scale
#if defined(__x86_64__)
#include "kernels/cpu/avx2/formats.h"
#include "kernels/cpu/avx2/integer_dot.h"

namespace sluice::kernels::avx2 {
namespace {

struct KernelQ8K {
  SLUICE_AVX2_STEP float scale(const std::byte* block) {
    float value;
    std::memcpy(&value, block, sizeof value);
    return value;
  }

  template <int N>
  SLUICE_AVX2_STEP void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x,
                                 __m128* sums) {
    for (int64_t b = 0; b < n_columns / 256; ++b, row += 292) {
      prefetch_ahead<292>(row);
      __m256i dots[N];
      for (int i = 0; i < N; ++i) dots[i] = _mm256_setzero_si256();
#pragma GCC unroll 8
      for (int g = 0; g < 8; ++g) {
        const __m256i q = load_bytes(row + 4 + 32 * g);
        for (int i = 0; i < N; ++i) dots[i] = _mm256_add_epi32(dots[i], dot_signed(q, load_bytes(x[i][b].q + 32 * g)));
      }
      for (int i = 0; i < N; ++i) add_block(sums[i], scale(row) * x[i][b].scale, dots[i]);
    }
  }
};

// A block is four groups of 32 under one scale.
SLUICE_AVX2_STEP __m256i bits_of_q1_0(const std::byte* row, int64_t group) {
  return spread_bits(load_u32(row + group / 4 * 18 + 2 + group % 4 * 4));
}

}  // namespace

void multiply_q8_k(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                   float* out) {
  for_rows<KernelQ8K>(rows, n_columns, inputs, n_inputs, out);
}

void unpack_q8_k(const std::byte* block, int64_t, CodedValues& coded) {
  coded.scale[0] = KernelQ8K::scale(block);
  store_twice(coded.group_scales, _mm_set1_epi16(1));
  for (int g = 0; g < 8; ++g) store_codes(coded, g, load_bytes(block + 4 + 32 * g));
}

void multiply_q1_0(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                   float* out) {
  for (int64_t i = 0; i < n_inputs; ++i) {
    const auto* x = static_cast<const reference::Activation32*>(inputs[i]);
    for (int64_t r = 0; r < kRowGroup; ++r) {
      __m128 sum = _mm_setzero_ps();
      for (int64_t g = 0; g < n_columns / 32; ++g) {
        const __m256i weights = _mm256_or_si256(_mm256_xor_si256(bits_of_q1_0(rows[r], g), _mm256_set1_epi8(-1)),
                                                _mm256_set1_epi8(1));  // 1 where the bit is set, else -1
        add_block(sum, load_half(rows[r] + g / 4 * 18) * x[g].scale, dot_signed(weights, load_bytes(x[g].q)));
      }
      out[i * kRowGroup + r] = _mm_cvtss_f32(sum);
    }
  }
}

void unpack_q1_0(const std::byte* blocks, int64_t n_values, CodedValues& coded) {
  store_twice(coded.group_mins, _mm_set1_epi16(1));
  for (int g = 0; g < 8; ++g) {
    const bool inside = 32 * g < n_values;
    store_codes(coded, g,
                inside ? _mm256_and_si256(bits_of_q1_0(blocks, g), _mm256_set1_epi8(2)) : _mm256_setzero_si256());
    coded.scale[g] = inside ? load_half(blocks + g / 4 * 18) : 0;
  }
}

}  // namespace sluice::kernels::avx2
#endif
