// MXFP4: 4-bit floats under a power of two.
//
//   17 bytes, 32 values | scale e8m0 | q 16 |    value = 2^(e - 128) * table[q], the table twice the 4-bit floats
//     values 0 to 15 in the low nibbles of q, 16 to 31 in the high ones
#if defined(__x86_64__)
#include "kernels/cpu/avx2/formats.h"
#include "kernels/cpu/avx2/integer_dot.h"

namespace sluice::kernels::avx2 {
namespace {

constexpr int kLargest = 12;

struct KernelMXFP4 {
  static constexpr int64_t kBlockBytes = 17;
  static constexpr bool kHasMin = false;
  static constexpr int kZero = 0;

  // 2^(e - 128); the smallest two are subnormal.
  SLUICE_AVX2_STEP float scale(const std::byte* block) {
    const auto e = static_cast<uint32_t>(block[0]);
    const uint32_t bits = e < 2 ? 0x00200000u << e : (e - 1) << 23;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
  SLUICE_AVX2_STEP __m256 scales(const std::byte* const* rows, int64_t at) {
    return _mm256_setr_ps(scale(rows[0] + at), scale(rows[1] + at), scale(rows[2] + at), scale(rows[3] + at),
                          scale(rows[4] + at), scale(rows[5] + at), scale(rows[6] + at), scale(rows[7] + at));
  }
  SLUICE_AVX2_STEP __m256i values(const std::byte* block) {
    const __m128i table = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    return _mm256_shuffle_epi8(_mm256_set_m128i(table, table), unpack_nibbles(block + 1));
  }
  SLUICE_AVX2_STEP __m256i whole(const std::byte* block, const reference::Activation32& x) {
    return dot_signed(values(block), load_bytes(x.q));
  }
};

}  // namespace

void multiply_mxfp4(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                    float* out) {
  for_rows_side_by_side<KernelMXFP4>(rows, n_columns, inputs, n_inputs, out);
}

void unpack_mxfp4(const std::byte* blocks, int64_t n_values, CodedValues& coded) {
  store_twice(coded.group_mins, _mm_set1_epi16(kLargest));
  for (int g = 0; g < 8; ++g, blocks += KernelMXFP4::kBlockBytes) {
    const bool inside = 32 * g < n_values;
    store_codes(
        coded, g,
        inside ? _mm256_add_epi8(KernelMXFP4::values(blocks), _mm256_set1_epi8(kLargest)) : _mm256_setzero_si256());
    coded.scale[g] = inside ? KernelMXFP4::scale(blocks) : 0;
  }
}

}  // namespace sluice::kernels::avx2
#endif
