// IQ4_NL and IQ4_XS: 4-bit indices into a table of 16 signed values.
//
//   IQ4_NL   18 bytes, 32 values  | scale f16 | q 16                       | value = scale * table[q]
//   IQ4_XS  136 bytes, 256 values | scale f16 | high u16 | low 4 | q 128   | value = scale*(s - 32) * table[q]
//             groups of 32 values; s of group g: nibble g of `low`, and above it bits 2g and 2g+1 of `high`
//
// Each 16 bytes of q hold 32 values: 0 to 15 in the low nibbles, 16 to 31 in the high ones.
#if defined(__x86_64__)
#include "kernels/cpu/avx2/formats.h"
#include "kernels/cpu/avx2/integer_dot.h"

namespace sluice::kernels::avx2 {
namespace {

SLUICE_AVX2_STEP __m256i look_up(__m256i nibbles) {
  const __m128i table = _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
  return _mm256_shuffle_epi8(_mm256_set_m128i(table, table), nibbles);
}

struct KernelIQ4NL {
  static constexpr int64_t kBlockBytes = 18;
  static constexpr bool kHasMin = false;
  static constexpr int kZero = 0;
  SLUICE_AVX2_STEP __m256 scales(const std::byte* const* rows, int64_t at) { return eight_halves_at(rows, at); }
  SLUICE_AVX2_STEP __m256i whole(const std::byte* block, const reference::Activation32& x) {
    return dot_signed(look_up(unpack_nibbles(block + 2)), load_bytes(x.q));
  }
};

struct KernelIQ4XS {
  // s - 32 of the eight groups.
  SLUICE_AVX2_STEP __m128i unpack_scales(const std::byte* block) {
    uint16_t high;
    std::memcpy(&high, block + 2, sizeof high);
    const __m128i packed = _mm_cvtsi32_si128(static_cast<int>(load_u32(block + 4)));
    const __m128i nibble = _mm_set1_epi8(15);
    const __m128i low = _mm_cvtepu8_epi16(
        _mm_unpacklo_epi8(_mm_and_si128(packed, nibble), _mm_and_si128(_mm_srli_epi16(packed, 4), nibble)));
    // Multiplying moves the two bits of group g to the top of the number; there is no shift by a different count a lane.
    const __m128i to_top =
        _mm_mullo_epi16(_mm_set1_epi16(static_cast<int16_t>(high)),
                        _mm_setr_epi16(1 << 14, 1 << 12, 1 << 10, 1 << 8, 1 << 6, 1 << 4, 1 << 2, 1));
    const __m128i top = _mm_slli_epi16(_mm_srli_epi16(to_top, 14), 4);
    return _mm_sub_epi16(_mm_or_si128(low, top), _mm_set1_epi16(32));
  }

  template <int N>
  SLUICE_AVX2_STEP void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x,
                                 __m128* sums) {
    for (int64_t b = 0; b < n_columns / 256; ++b, row += 136) {
      prefetch_ahead<136>(row);
      const float scale = load_half(row);
      const __m256i scales = spread_eight(unpack_scales(row));
      __m256i dots[N];
      for (int i = 0; i < N; ++i) dots[i] = _mm256_setzero_si256();
#pragma GCC unroll 8
      for (int g = 0; g < 8; ++g) {
        const __m256i w = look_up(unpack_nibbles(row + 8 + 16 * g));
        const __m256i magnitude = _mm256_abs_epi8(w), group_scale = scale_of(scales, g);
        for (int i = 0; i < N; ++i) {
          const __m256i q = _mm256_sign_epi8(load_bytes(x[i][b].q + 32 * g), w);
          dots[i] = _mm256_add_epi32(dots[i], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, q), group_scale));
        }
      }
      for (int i = 0; i < N; ++i) add_block(sums[i], scale * x[i][b].scale, dots[i]);
    }
  }
};

}  // namespace

void multiply_iq4_nl(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                     float* out) {
  for_rows_side_by_side<KernelIQ4NL>(rows, n_columns, inputs, n_inputs, out);
}
void multiply_iq4_xs(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                     float* out) {
  for_rows<KernelIQ4XS>(rows, n_columns, inputs, n_inputs, out);
}

void unpack_iq4_nl(const std::byte* blocks, int64_t n_values, CodedValues& coded) {
  for (int g = 0; g < 8; ++g, blocks += KernelIQ4NL::kBlockBytes) {
    const bool inside = 32 * g < n_values;
    store_codes(coded, g, inside ? look_up(unpack_nibbles(blocks + 2)) : _mm256_setzero_si256());
    coded.scale[g] = inside ? load_half(blocks) : 0;
  }
}
void unpack_iq4_xs(const std::byte* block, int64_t, CodedValues& coded) {
  coded.scale[0] = load_half(block);
  store_twice(coded.group_scales, KernelIQ4XS::unpack_scales(block));
  for (int g = 0; g < 8; ++g) store_codes(coded, g, look_up(unpack_nibbles(block + 8 + 16 * g)));
}

}  // namespace sluice::kernels::avx2
#endif
