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

// Eight grid entries of four bytes each.
template <typename Index>
SLUICE_AVX2_STEP __m256i eight_entries(const uint32_t* grid, const Index* indices) {
  const auto entry = [&](int e) __attribute__((always_inline)) {
    return static_cast<int>(grid[indices[e]]);
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

  // The 64 indices of nine bits of an IQ3_S block; those of IQ3_XXS are bytes and read where they lie.
  SLUICE_AVX2_STEP void unpack_indices(const std::byte* block, uint16_t* indices) {
    if constexpr (!kIsS) return;
    const __m256i first_byte_then_second = _mm256_set_m128i(_mm_set1_epi8(1), _mm_setzero_si128());
    const __m256i bit_of_lane = _mm256_set1_epi64x(0x0008000400020001),
                  four_lanes_on = _mm256_slli_epi16(bit_of_lane, 4);
    const __m256i bit = _mm256_blend_epi32(bit_of_lane, four_lanes_on, 0xCC);
    for (int part = 0; part < 4; ++part) {  // of 16 entries
      const __m256i q = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 2 + 16 * part)));
      int16_t high;
      std::memcpy(&high, block + 66 + 2 * part, sizeof high);
      const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi16(high), first_byte_then_second);
      const __m256i is_set = _mm256_cmpeq_epi16(_mm256_and_si256(spread, bit), bit);
      _mm256_store_si256(reinterpret_cast<__m256i*>(indices) + part,
                         _mm256_or_si256(q, _mm256_and_si256(is_set, _mm256_set1_epi16(0x100))));
    }
  }

  SLUICE_AVX2_STEP Group group(const IqTables& tables, const std::byte* block, const uint16_t* indices, int g) {
    if constexpr (kIsS) {
      const uint32_t s = static_cast<uint32_t>(block[106 + g / 2]) >> (4 * (g % 2)) & 15;
      return {eight_entries(tables.iq3_s, indices + 8 * g), signs_of_bits(load_u32(block + 74 + 4 * g)),
              static_cast<int>(2 * s + 1)};
    } else {
      const uint32_t bits = load_u32(block + 66 + 4 * g);
      return {eight_entries(tables.iq3_xxs, reinterpret_cast<const uint8_t*>(block + 2 + 8 * g)),
              four_entries(tables.signs + (bits & 127), tables.signs + (bits >> 7 & 127),
                           tables.signs + (bits >> 14 & 127), tables.signs + (bits >> 21 & 127)),
              static_cast<int>(2 * (bits >> 28) + 1)};
    }
  }

  template <int N>
  SLUICE_AVX2_STEP void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x,
                                 __m128* sums) {
    const IqTables& tables = iq_tables();
    // The indices of a block are made while the one before it is multiplied, as in iq1.cc.
    alignas(32) uint16_t indices[2][64];
    const int64_t n_blocks = n_columns / 256;
    if (n_blocks > 0) unpack_indices(row, indices[0]);
    for (int64_t b = 0; b < n_blocks; ++b, row += kBlockBytes) {
      prefetch_ahead<kBlockBytes>(row);
      if (b + 1 < n_blocks) unpack_indices(row + kBlockBytes, indices[(b + 1) % 2]);
      __m256i dots[N];
      for (int i = 0; i < N; ++i) dots[i] = _mm256_setzero_si256();
      for (int g = 0; g < 8; ++g) {
        const Group group32 = group(tables, row, indices[b % 2], g);
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
    alignas(32) uint16_t indices[64];
    unpack_indices(block, indices);
    for (int g = 0; g < 8; ++g) {
      const Group group32 = group(tables, block, indices, g);
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
