// IQ2_XXS, IQ2_XS and IQ2_S: super-blocks of 256 values; each 8 values are a point of a grid of magnitudes, with signs.
//
//   IQ2_XXS  66 bytes | scale f16 | 8 groups of 32 values: index u8 x 4, u32 |
//              u32: 7 bits of signs for each entry from bit 0 on, s in bits 28-31
//   IQ2_XS   74 bytes | scale f16 | q u16 x 32 | scales 8 |
//              q: bits 0-8 the grid index of an entry, bits 9-15 its 7 bits of signs
//   IQ2_S    82 bytes | scale f16 | q 32 | signs 32 | high 8 | scales 8 |
//              bits 2*(e%4) and above of high[e/4] stand above q[e]; signs[e] has all 8 bits
//   value = scale*(2s + 1)/8 * magnitude * sign;  nibble j of `scales` is s of values 16j to 16j + 15
#if defined(__x86_64__)
#include "kernels/cpu/avx2/formats.h"
#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/iq_tables.h"

namespace sluice::kernels::avx2 {
namespace {

struct Group {
  __m256i magnitudes, signs;  // of 32 values
};

struct KernelIQ2XXS {
  static constexpr int64_t kBlockBytes = 66;

  SLUICE_AVX2_STEP __m256i unpack_scales(const std::byte* block) {
    const __m256i pairs0 = load_bytes(block + 2), pairs1 = load_bytes(block + 34);  // index, bits, index, bits ...
    const __m256i bits = _mm256_permute4x64_epi64(
        _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(pairs0), _mm256_castsi256_ps(pairs1), 0xDD)), 0xD8);
    const __m256i odd = _mm256_or_si256(_mm256_slli_epi32(_mm256_srli_epi32(bits, 28), 1), _mm256_set1_epi32(1));
    return _mm256_or_si256(odd, _mm256_slli_epi32(odd, 16));
  }
  SLUICE_AVX2_STEP Group group(const IqTables& tables, const std::byte* block, int g) {
    uint64_t both;
    std::memcpy(&both, block + 2 + 8 * g, sizeof both);
    const uint64_t bits = both >> 32;
    return {four_entries(tables.iq2_xxs + (both & 255), tables.iq2_xxs + (both >> 8 & 255),
                         tables.iq2_xxs + (both >> 16 & 255), tables.iq2_xxs + (both >> 24 & 255)),
            four_entries(tables.signs + (bits & 127), tables.signs + (bits >> 7 & 127),
                         tables.signs + (bits >> 14 & 127), tables.signs + (bits >> 21 & 127))};
  }
};

struct KernelIQ2XS {
  static constexpr int64_t kBlockBytes = 74;

  SLUICE_AVX2_STEP __m256i unpack_scales(const std::byte* block) { return unpack_odd_scales(block + 66); }
  SLUICE_AVX2_STEP Group group(const IqTables& tables, const std::byte* block, int g) {
    uint64_t q;
    std::memcpy(&q, block + 2 + 8 * g, sizeof q);
    return {four_entries(tables.iq2_xs + (q & 511), tables.iq2_xs + (q >> 16 & 511), tables.iq2_xs + (q >> 32 & 511),
                         tables.iq2_xs + (q >> 48 & 511)),
            four_entries(tables.signs + (q >> 9 & 127), tables.signs + (q >> 25 & 127), tables.signs + (q >> 41 & 127),
                         tables.signs + (q >> 57))};
  }
};

struct KernelIQ2S {
  static constexpr int64_t kBlockBytes = 82;

  SLUICE_AVX2_STEP __m256i unpack_scales(const std::byte* block) { return unpack_odd_scales(block + 74); }
  SLUICE_AVX2_STEP Group group(const IqTables& tables, const std::byte* block, int g) {
    const auto* q = reinterpret_cast<const uint8_t*>(block + 2 + 4 * g);
    const auto high = static_cast<uint32_t>(block[66 + g]);
    return {four_entries(tables.iq2_s + (q[0] | (high << 8 & 0x300)), tables.iq2_s + (q[1] | (high << 6 & 0x300)),
                         tables.iq2_s + (q[2] | (high << 4 & 0x300)), tables.iq2_s + (q[3] | (high << 2 & 0x300))),
            signs_of_bits(load_u32(block + 34 + 4 * g))};
  }
};

template <typename Layout>
struct Kernel {
  template <int N>
  SLUICE_AVX2_STEP void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x,
                                 __m128* sums) {
    const IqTables& tables = iq_tables();
    for (int64_t b = 0; b < n_columns / 256; ++b, row += Layout::kBlockBytes) {
      prefetch_ahead<Layout::kBlockBytes>(row);
      const float scale = load_half(row) * 0.125f;
      const SixteenScales scales = spread_sixteen(Layout::unpack_scales(row));
      __m256i dots[N];
      for (int i = 0; i < N; ++i) dots[i] = _mm256_setzero_si256();
#pragma GCC unroll 8
      for (int g = 0; g < 8; ++g) {
        const Group group = Layout::group(tables, row, g);
        const __m256i group_scales = pair_of_scales(scales, g);
        for (int i = 0; i < N; ++i) {
          const __m256i q8 = _mm256_sign_epi8(load_bytes(x[i][b].q + 32 * g), group.signs);
          dots[i] =
              _mm256_add_epi32(dots[i], _mm256_madd_epi16(_mm256_maddubs_epi16(group.magnitudes, q8), group_scales));
        }
      }
      for (int i = 0; i < N; ++i) add_block(sums[i], scale * x[i][b].scale, dots[i]);
    }
  }

  // Moved up by the largest magnitude, so that bytes multiply unsigned.
  static void unpack(const std::byte* block, CodedValues& coded) {
    constexpr int kLargest = 43;
    const IqTables& tables = iq_tables();
    coded.scale[0] = load_half(block) * 0.125f;
    const __m256i scales = Layout::unpack_scales(block);
    _mm256_store_si256(reinterpret_cast<__m256i*>(coded.group_scales), scales);
    _mm256_store_si256(reinterpret_cast<__m256i*>(coded.group_mins),
                       _mm256_mullo_epi16(scales, _mm256_set1_epi16(kLargest)));
    for (int g = 0; g < 8; ++g) {
      const Group group = Layout::group(tables, block, g);
      store_codes(coded, g,
                  _mm256_add_epi8(_mm256_sign_epi8(group.magnitudes, group.signs), _mm256_set1_epi8(kLargest)));
    }
  }
};

}  // namespace

void multiply_iq2_xxs(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                      float* out) {
  for_rows<Kernel<KernelIQ2XXS>>(rows, n_columns, inputs, n_inputs, out);
}
void multiply_iq2_xs(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                     float* out) {
  for_rows<Kernel<KernelIQ2XS>>(rows, n_columns, inputs, n_inputs, out);
}
void multiply_iq2_s(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                    float* out) {
  for_rows<Kernel<KernelIQ2S>>(rows, n_columns, inputs, n_inputs, out);
}
void unpack_iq2_xxs(const std::byte* block, int64_t, CodedValues& coded) {
  Kernel<KernelIQ2XXS>::unpack(block, coded);
}
void unpack_iq2_xs(const std::byte* block, int64_t, CodedValues& coded) {
  Kernel<KernelIQ2XS>::unpack(block, coded);
}
void unpack_iq2_s(const std::byte* block, int64_t, CodedValues& coded) {
  Kernel<KernelIQ2S>::unpack(block, coded);
}

}  // namespace sluice::kernels::avx2
#endif
