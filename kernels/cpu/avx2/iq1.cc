// IQ1_S and IQ1_M: super-blocks of 256 values; each 8 values are one of 2048 points of a ternary grid, moved by +-1/8.
//
//   IQ1_S    50 bytes | scale f16 | q 32 | high u16 x 8 |
//            group g of 32 values: entry l has the index q[4g + l] and 3 more bits of high[g] from bit 3l on;
//            s is bits 12-14 of high[g], delta is -1/8 where bit 15 is set, else 1/8
//   IQ1_M    56 bytes | q 32 | high 16 | scales u16 x 4 |       the only format whose f16 scale lies in pieces
//            nibble e of `high`: 3 bits of the grid index above q[e]; its top bit is set where delta is -1/8 for these 8
//            values; scales[j] bits 0-11: s of values 64j + 16k at bit 3k; bits 12-15: nibble j of the f16 scale
//
//   value = scale*(2s + 1) * (t + delta), t = -1, 0, 1
//         = scale/8 * (2s + 1) * (8t + 8 delta)               whole but for scale/8
//
// The table holds u = t + 1, so that bytes multiply unsigned.
//   IQ1_S: 8t + 8 delta = 8u - (8 - 8 delta): codes u, and 7 or 9 times the sum of the activations away from each group
//   IQ1_M: delta changes inside a group, so the codes are 8u + (0 or 2), in [0, 18], and 9 times the sum goes away
#if defined(__x86_64__)
#include "kernels/cpu/avx2/formats.h"
#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/iq_tables.h"

namespace sluice::kernels::avx2 {
namespace {

SLUICE_AVX2_STEP __m256i entries_at(const uint64_t* grid, const uint16_t* indices) {
  return four_entries(grid + indices[0], grid + indices[1], grid + indices[2], grid + indices[3]);
}

// 16 bytes of q and above each the three bits of `high` that stand in bits 8 to 10 -> 16 indices.
SLUICE_AVX2_STEP void store_indices(uint16_t* sixteen, const std::byte* q, __m256i high) {
  const __m256i low = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(q)));
  _mm256_store_si256(reinterpret_cast<__m256i*>(sixteen),
                     _mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi16(0x700))));
}

struct KernelIQ1S {
  SLUICE_AVX2_STEP __m128i load_high(const std::byte* block) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 34));
  }
  // 2s + 1 of the eight groups.
  SLUICE_AVX2_STEP __m128i scales(__m128i high) {
    return _mm_or_si128(_mm_and_si128(_mm_srli_epi16(high, 11), _mm_set1_epi16(14)), _mm_set1_epi16(1));
  }
  // (2s + 1) * (7 or 9)
  SLUICE_AVX2_STEP __m128i mins(__m128i high, __m128i s) {
    const __m128i is_minus = _mm_srli_epi16(high, 15);  // 7 + 2 where delta is -1/8
    return _mm_mullo_epi16(s, _mm_add_epi16(_mm_slli_epi16(is_minus, 1), _mm_set1_epi16(7)));
  }
  SLUICE_AVX2_STEP void unpack_indices(const std::byte* block, __m128i high, uint16_t* indices) {
    const __m256i both = _mm256_set_m128i(high, high);
    const __m256i four_times = _mm256_setr_epi8(0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3,  //
                                                4, 5, 4, 5, 4, 5, 4, 5, 6, 7, 6, 7, 6, 7, 6, 7);
    // Bits 3l of `high` go to bit 8: up by 8, 5 and 2, and down by 1 for the last, which is half of a product by 2^15.
    const __m256i up = _mm256_set1_epi64x(0x0000000400200100);
    const __m256i down = _mm256_set1_epi64x(static_cast<long long>(0x8000000000000000));
    for (int half = 0; half < 2; ++half) {
      const __m256i spread =
          _mm256_shuffle_epi8(both, _mm256_add_epi8(four_times, _mm256_set1_epi8(static_cast<char>(8 * half))));
      const __m256i moved = _mm256_or_si256(_mm256_mullo_epi16(spread, up), _mm256_mulhi_epu16(spread, down));
      store_indices(indices + 16 * half, block + 2 + 16 * half, moved);
    }
  }

  template <int N>
  SLUICE_AVX2_STEP void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x,
                                 __m128* sums) {
    const uint64_t* grid = iq_tables().iq1;
    // The indices of a block are made while the one before it is multiplied: from the stored vector to the sum it is a long
    // way of loads that depend on each other.
    alignas(32) uint16_t both_indices[2][32];
    const int64_t n_blocks = n_columns / 256;
    unpack_indices(row, load_high(row), both_indices[0]);
    for (int64_t b = 0; b < n_blocks; ++b, row += 50) {
      prefetch_ahead<50>(row);
      const float scale = load_half(row) * 0.125f;
      const __m128i high = load_high(row), s = scales(high);
      const uint16_t* indices = both_indices[b % 2];
      if (b + 1 < n_blocks) unpack_indices(row + 50, load_high(row + 50), both_indices[(b + 1) % 2]);
      const __m256i group_scales = spread_eight(s);
      __m256i dots[N];
      for (int i = 0; i < N; ++i) dots[i] = _mm256_setzero_si256();
#pragma GCC unroll 8
      for (int g = 0; g < 8; ++g) {
        const __m256i u = entries_at(grid, indices + 4 * g), group_scale = scale_of(group_scales, g);
        for (int i = 0; i < N; ++i) {
          const __m256i pairs = _mm256_maddubs_epi16(u, load_bytes(x[i][b].q + 32 * g));
          dots[i] = _mm256_add_epi32(dots[i], _mm256_madd_epi16(pairs, group_scale));
        }
      }
      const __m128i group_mins = mins(high, s);
      for (int i = 0; i < N; ++i) {
        const auto* q_sums = reinterpret_cast<const __m128i*>(x[i][b].sums);
        const __m128i group_sums = _mm_hadd_epi16(_mm_loadu_si128(q_sums), _mm_loadu_si128(q_sums + 1));
        const __m256i away = _mm256_zextsi128_si256(_mm_madd_epi16(group_mins, group_sums));
        add_block(sums[i], scale * x[i][b].scale, _mm256_sub_epi32(_mm256_slli_epi32(dots[i], 3), away));
      }
    }
  }
};

struct KernelIQ1M {
  SLUICE_AVX2_STEP float scale(const std::byte* block) {
    uint16_t packed[4];
    std::memcpy(packed, block + 48, sizeof packed);
    const auto half = static_cast<uint16_t>(packed[0] >> 12 | (packed[1] >> 8 & 0xF0) | (packed[2] >> 4 & 0xF00) |
                                            (packed[3] & 0xF000));
    return _cvtsh_ss(half) * 0.125f;
  }
  // 2s + 1 of the sixteen groups: three bits at bit 0, 3, 6 and 9 of each of the four numbers, brought to bit 9.
  SLUICE_AVX2_STEP __m256i scales(const std::byte* block) {
    const __m128i packed = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(block + 48));
    const __m256i spread = _mm256_shuffle_epi8(_mm256_set_m128i(packed, packed),
                                               _mm256_setr_epi8(0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3,  //
                                                                4, 5, 4, 5, 4, 5, 4, 5, 6, 7, 6, 7, 6, 7, 6, 7));
    const __m256i moved = _mm256_mullo_epi16(spread, _mm256_set1_epi64x(0x0001000800400200));
    return _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(moved, 8), _mm256_set1_epi16(14)), _mm256_set1_epi16(1));
  }
  SLUICE_AVX2_STEP void unpack_indices(const std::byte* block, uint16_t* indices) {
    for (int half = 0; half < 2; ++half) {
      // Bytes of two nibbles -> 16-bit numbers with one nibble from bit 8 on.
      const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(block + 32 + 8 * half));
      const __m128i nibbles = _mm_unpacklo_epi8(bytes, _mm_srli_epi16(bytes, 4));
      store_indices(indices + 16 * half, block + 16 * half, _mm256_slli_epi16(_mm256_cvtepu8_epi16(nibbles), 8));
    }
  }
  SLUICE_AVX2_STEP __m256i codes(const uint64_t* grid, const uint16_t* indices, const std::byte* block, int g) {
    uint16_t high;
    std::memcpy(&high, block + 32 + 2 * g, sizeof high);
    const __m256i minus_bits = _mm256_set_epi64x(static_cast<long long>(0x8000800080008000), 0x0800080008000800,
                                                 0x0080008000800080, 0x0008000800080008);
    const __m256i is_plus = _mm256_cmpeq_epi16(
        _mm256_and_si256(_mm256_set1_epi16(static_cast<int16_t>(high)), minus_bits), _mm256_setzero_si256());
    return _mm256_or_si256(_mm256_slli_epi16(entries_at(grid, indices + 4 * g), 3),
                           _mm256_and_si256(is_plus, _mm256_set1_epi8(2)));
  }

  template <int N>
  SLUICE_AVX2_STEP void multiply(const std::byte* row, int64_t n_columns, const reference::Activation256* const* x,
                                 __m128* sums) {
    const uint64_t* grid = iq_tables().iq1;
    alignas(32) uint16_t both_indices[2][32];  // as above
    const int64_t n_blocks = n_columns / 256;
    unpack_indices(row, both_indices[0]);
    for (int64_t b = 0; b < n_blocks; ++b, row += 56) {
      prefetch_ahead<56>(row);
      const uint16_t* indices = both_indices[b % 2];
      if (b + 1 < n_blocks) unpack_indices(row + 56, both_indices[(b + 1) % 2]);
      const __m256i s = scales(row);
      const SixteenScales group_scales = spread_sixteen(s);
      const __m256i mins = _mm256_mullo_epi16(s, _mm256_set1_epi16(9));
      __m256i dots[N];
      for (int i = 0; i < N; ++i)
        dots[i] = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_madd_epi16(mins, load_bytes(x[i][b].sums)));
#pragma GCC unroll 8
      for (int g = 0; g < 8; ++g) {
        const __m256i w = codes(grid, indices, row, g), scale_pair = pair_of_scales(group_scales, g);
        for (int i = 0; i < N; ++i) {
          const __m256i pairs = _mm256_maddubs_epi16(w, load_bytes(x[i][b].q + 32 * g));
          dots[i] = _mm256_add_epi32(dots[i], _mm256_madd_epi16(pairs, scale_pair));
        }
      }
      for (int i = 0; i < N; ++i) add_block(sums[i], scale(row) * x[i][b].scale, dots[i]);
    }
  }
};

}  // namespace

void multiply_iq1_s(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                    float* out) {
  for_rows<KernelIQ1S>(rows, n_columns, inputs, n_inputs, out);
}
void multiply_iq1_m(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                    float* out) {
  for_rows<KernelIQ1M>(rows, n_columns, inputs, n_inputs, out);
}

void unpack_iq1_s(const std::byte* block, int64_t, CodedValues& coded) {
  const uint64_t* grid = iq_tables().iq1;
  coded.scale[0] = load_half(block) * 0.125f;
  const __m128i high = KernelIQ1S::load_high(block), s = KernelIQ1S::scales(high);
  store_twice(coded.group_scales, _mm_slli_epi16(s, 3));
  store_twice(coded.group_mins, KernelIQ1S::mins(high, s));
  alignas(32) uint16_t indices[32];
  KernelIQ1S::unpack_indices(block, high, indices);
  for (int g = 0; g < 8; ++g) store_codes(coded, g, entries_at(grid, indices + 4 * g));
}

void unpack_iq1_m(const std::byte* block, int64_t, CodedValues& coded) {
  const uint64_t* grid = iq_tables().iq1;
  coded.scale[0] = KernelIQ1M::scale(block);
  const __m256i s = KernelIQ1M::scales(block);
  _mm256_store_si256(reinterpret_cast<__m256i*>(coded.group_scales), s);
  _mm256_store_si256(reinterpret_cast<__m256i*>(coded.group_mins), _mm256_mullo_epi16(s, _mm256_set1_epi16(9)));
  alignas(32) uint16_t indices[32];
  KernelIQ1M::unpack_indices(block, indices);
  for (int g = 0; g < 8; ++g) store_codes(coded, g, KernelIQ1M::codes(grid, indices, block, g));
}

}  // namespace sluice::kernels::avx2
#endif
