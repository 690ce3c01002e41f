// IQ3_XXS and IQ3_S: super-blocks of 256 values; each 4 values are a point of a grid of magnitudes, with signs apart.
//
//   IQ3_XXS   98 bytes | scale f16 | q 64 | u32 x 8 |
//               q[e]: the grid index of values 4e to 4e + 3
//               u32 of group g of 32 values: 7 bits of signs for each 8 values from bit 0 on, s in bits 28-31
//               value = scale*(2s + 1)/4 * magnitude * sign
//   IQ3_S    110 bytes | scale f16 | q 64 | high 8 | signs 32 | scales 4 |
//               bit e of `high` stands above q[e]; bit v of `signs` is the sign of value v; nibble g of `scales` is s
//               value = scale*(2s + 1) * magnitude * sign
#if defined(__x86_64__)
#include "kernels/cpu/avx2/formats.h"
#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/iq_tables.h"

namespace sluice::kernels::avx2 {
namespace {

// Eight grid entries of four bytes each; `high` has the ninth bit of each index.
SLUICE_AVX2_STEP __m256i eight_entries(const uint32_t* grid, const uint8_t* q, uint32_t high) {
  const auto entry = [&](int e) __attribute__((always_inline)) {
    return static_cast<int>(grid[q[e] | (high << (8 - e) & 0x100)]);
  };
  return _mm256_setr_epi32(entry(0), entry(1), entry(2), entry(3), entry(4), entry(5), entry(6), entry(7));
}

// Magnitudes, signs (-1 or 1; 0 never) and 2s + 1 of a group of 32 values.
struct Group {
  __m256i magnitudes, signs;
  int scale;
};

template <bool kIsS>
struct KernelIQ3 {
  static constexpr int64_t kBlockBytes = kIsS ? 110 : 98;
  static constexpr int kLargest = kIsS ? 15 : 62;

  SLUICE_AVX2_STEP float scale(const std::byte* block) { return load_half(block) * (kIsS ? 1.0f : 0.25f); }

  SLUICE_AVX2_STEP Group group(const IqTables& tables, const std::byte* block, int g) {
    const auto* q = reinterpret_cast<const uint8_t*>(block + 2 + 8 * g);
    if constexpr (kIsS) {
      const uint32_t s = static_cast<uint32_t>(block[106 + g / 2]) >> (4 * (g % 2)) & 15;
      return {eight_entries(tables.iq3_s, q, static_cast<uint32_t>(block[66 + g])),
              signs_of_bits(load_u32(block + 74 + 4 * g)), static_cast<int>(2 * s + 1)};
    } else {
      const uint32_t bits = load_u32(block + 66 + 4 * g);
      return {eight_entries(tables.iq3_xxs, q, 0),
              four_entries(tables.signs + (bits & 127), tables.signs + (bits >> 7 & 127),
                           tables.signs + (bits >> 14 & 127), tables.signs + (bits >> 21 & 127)),
              static_cast<int>(2 * (bits >> 28) + 1)};
    }
  }

  template <int N>
  SLUICE_AVX2_STEP void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x,
                                 __m128* sums) {
    const IqTables& tables = iq_tables();
    for (int64_t b = 0; b < n_columns / 256; ++b, row += kBlockBytes) {
      prefetch_ahead<kBlockBytes>(row);
      __m256i dots[N];
      for (int i = 0; i < N; ++i) dots[i] = _mm256_setzero_si256();
      for (int g = 0; g < 8; ++g) {
        const Group group32 = group(tables, row, g);
        const __m256i group_scale = _mm256_set1_epi16(static_cast<int16_t>(group32.scale));
        for (int i = 0; i < N; ++i) {
          const __m256i q8 = _mm256_sign_epi8(load_bytes(x[i][b].q + 32 * g), group32.signs);
          dots[i] =
              _mm256_add_epi32(dots[i], _mm256_madd_epi16(_mm256_maddubs_epi16(group32.magnitudes, q8), group_scale));
        }
      }
      for (int i = 0; i < N; ++i) add_block(sums[i], scale(row) * x[i][b].scale, dots[i]);
    }
  }

  // Moved up by the largest magnitude, so that bytes multiply unsigned.
  static void unpack(const std::byte* block, CodedValues& coded) {
    const IqTables& tables = iq_tables();
    coded.scale[0] = scale(block);
    for (int g = 0; g < 8; ++g) {
      const Group group32 = group(tables, block, g);
      const __m256i values = _mm256_sign_epi8(group32.magnitudes, group32.signs);
      store_codes(coded, g, _mm256_add_epi8(values, _mm256_set1_epi8(kLargest)));
      const auto s = static_cast<int16_t>(group32.scale);
      coded.group_scales[2 * g] = coded.group_scales[2 * g + 1] = s;
      coded.group_mins[2 * g] = coded.group_mins[2 * g + 1] = static_cast<int16_t>(kLargest * s);
    }
  }
};

}  // namespace

void multiply_iq3_xxs(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                      float* out) {
  for_rows<KernelIQ3<false>>(rows, n_columns, inputs, n_inputs, out);
}
void multiply_iq3_s(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                    float* out) {
  for_rows<KernelIQ3<true>>(rows, n_columns, inputs, n_inputs, out);
}
void unpack_iq3_xxs(const std::byte* block, int64_t, CodedValues& coded) {
  KernelIQ3<false>::unpack(block, coded);
}
void unpack_iq3_s(const std::byte* block, int64_t, CodedValues& coded) {
  KernelIQ3<true>::unpack(block, coded);
}

}  // namespace sluice::kernels::avx2
#endif
