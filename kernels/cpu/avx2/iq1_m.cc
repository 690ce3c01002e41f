// IQ1_M: super-blocks of 256 values; each 8 values are one of 2048 points of a ternary grid, moved by +-1/8.
//
//   56 bytes | q 32 | high 16 | scales u16 x 4 |       the only format whose f16 scale lies in pieces
//     nibble e of `high`: 3 bits of the grid index above q[e]; its top bit is set where delta is -1/8 for these 8 values
//     scales[j] bits 0-11: s of values 64j + 16k at bit 3k; bits 12-15: nibble j of the f16 scale, lowest first
//   value = scale*(2s + 1) * (t + delta) = scale*(2s + 1)/8 * (8t +- 1): a signed byte from -9 to 9
#if defined(__x86_64__)
#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/avx2/row_products.h"
#include "kernels/cpu/iq_tables.h"

namespace sluice::kernels::avx2 {
namespace {

struct KernelIQ1M {
  template <int N>
  static void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x, float* out) {
    const uint64_t* grid = iq_tables().iq1;
    constexpr uint64_t kPlus = 0x0707070707070707, kMinus = 0x0909090909090909;  // 8 - 1 and 8 + 1, taken from 8(t + 1)
    __m256 sums[N];
    for (int i = 0; i < N; ++i) sums[i] = _mm256_setzero_ps();
    for (int64_t b = 0; b < n_columns / 256; ++b, row += 56) {
      uint16_t packed[4];
      std::memcpy(packed, row + 48, sizeof packed);
      const auto half = static_cast<uint16_t>(packed[0] >> 12 | (packed[1] >> 8 & 0xF0) | (packed[2] >> 4 & 0xF00) |
                                              (packed[3] & 0xF000));
      const float scale = _cvtsh_ss(half) * 0.125f;
      int16_t s[16];
      for (int j = 0; j < 16; ++j) s[j] = static_cast<int16_t>(2 * (packed[j / 4] >> (3 * (j % 4)) & 7) + 1);
      __m256i dots[N];
      for (int i = 0; i < N; ++i) dots[i] = _mm256_setzero_si256();
      for (int g = 0; g < 8; ++g) {
        const auto* q = reinterpret_cast<const uint8_t*>(row + 4 * g);
        const uint32_t high = static_cast<uint32_t>(row[32 + 2 * g]) | static_cast<uint32_t>(row[33 + 2 * g]) << 8;
        const __m256i t = four_entries(grid[q[0] | (high << 8 & 0x700)], grid[q[1] | (high << 4 & 0x700)],
                                       grid[q[2] | (high & 0x700)], grid[q[3] | (high >> 4 & 0x700)]);
        const __m256i moved = four_entries((high & 0x8) != 0 ? kMinus : kPlus, (high & 0x80) != 0 ? kMinus : kPlus,
                                           (high & 0x800) != 0 ? kMinus : kPlus, (high & 0x8000) != 0 ? kMinus : kPlus);
        const __m256i w = _mm256_sub_epi8(_mm256_slli_epi16(t, 3), moved);
        const __m256i magnitude = _mm256_abs_epi8(w), group_scales = pair_of_scales(s + 2 * g);
        for (int i = 0; i < N; ++i) {
          const __m256i q8 = _mm256_sign_epi8(load_bytes(x[i][b].q + 32 * g), w);
          dots[i] = _mm256_add_epi32(dots[i], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, q8), group_scales));
        }
      }
      for (int i = 0; i < N; ++i)
        sums[i] = _mm256_fmadd_ps(_mm256_set1_ps(scale * x[i][b].scale), _mm256_cvtepi32_ps(dots[i]), sums[i]);
    }
    for (int i = 0; i < N; ++i) out[i] = sum_lanes(sums[i]);
  }
};

}  // namespace

void multiply_row_iq1_m(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                        float* out) {
  for_inputs<KernelIQ1M, reference::Activation256>(row, n_columns, inputs, n_inputs, out);
}

}  // namespace sluice::kernels::avx2
#endif
