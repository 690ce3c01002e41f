// Q4_0 Q4_1 Q5_0 Q5_1: blocks of 32 unsigned codes of 4 or 5 bits.
//
//   Q4_0  18 bytes | scale f16 | q 16                         | value = scale * (q - 8)
//   Q4_1  20 bytes | scale f16 | offset f16 | q 16            | value = scale * q + offset
//   Q5_0  22 bytes | scale f16 | high u32 | q 16              | value = scale * (q - 16)
//   Q5_1  24 bytes | scale f16 | offset f16 | high u32 | q 16 | value = scale * q + offset
//
// The constant part of a block multiplies the sum of the activations, which their 8-bit form brings along.
#if defined(__x86_64__)
#include "kernels/cpu/avx2/formats.h"
#include "kernels/cpu/avx2/integer_dot.h"

namespace sluice::kernels::avx2 {
namespace {

template <bool kFiveBits, bool kHasOffset>
struct KernelQ4Q5 {
  static constexpr int64_t kHighAt = kHasOffset ? 4 : 2;
  static constexpr int64_t kCodesAt = kHighAt + (kFiveBits ? 4 : 0);
  static constexpr int64_t kBlockBytes = kCodesAt + 16;
  static constexpr int kZero = kHasOffset ? 0 : kFiveBits ? 16 : 8;  // the code that means 0
  static constexpr bool kHasMin = kHasOffset;

  SLUICE_AVX2_STEP float scale(const std::byte* block) { return load_half(block); }
  SLUICE_AVX2_STEP float min(const std::byte* block) { return -load_half(block + 2); }
  SLUICE_AVX2_STEP __m256 scales(const std::byte* const* rows, int64_t at) { return eight_halves_at(rows, at); }
  SLUICE_AVX2_STEP __m256 mins(const std::byte* const* rows, int64_t at) {
    return _mm256_xor_ps(eight_halves_at(rows, at + 2), _mm256_set1_ps(-0.0f));
  }
  SLUICE_AVX2_STEP __m256i codes(const std::byte* block) {
    const __m256i q = unpack_nibbles(block + kCodesAt);
    if constexpr (!kFiveBits) return q;
    return _mm256_or_si256(q, _mm256_and_si256(spread_bits(load_u32(block + kHighAt)), _mm256_set1_epi8(16)));
  }
  SLUICE_AVX2_STEP __m256i whole(const std::byte* block, const reference::Activation32& x) {
    return dot_unsigned(codes(block), load_bytes(x.q));
  }

  static void unpack(const std::byte* blocks, int64_t n_values, CodedValues& coded) {
    const __m128i zeros = _mm_set1_epi16(kZero);
    store_twice(coded.group_mins, zeros);
    for (int g = 0; g < 8; ++g, blocks += kBlockBytes) {
      const bool inside = 32 * g < n_values;
      store_codes(coded, g, inside ? codes(blocks) : _mm256_setzero_si256());
      coded.scale[g] = inside ? scale(blocks) : 0;
      coded.min[g] = inside && kHasOffset ? min(blocks) : 0;
    }
  }
};

}  // namespace

void multiply_q4_0(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                   float* out) {
  for_rows_side_by_side<KernelQ4Q5<false, false>>(rows, n_columns, inputs, n_inputs, out);
}
void multiply_q4_1(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                   float* out) {
  for_rows_side_by_side<KernelQ4Q5<false, true>>(rows, n_columns, inputs, n_inputs, out);
}
void multiply_q5_0(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                   float* out) {
  for_rows_side_by_side<KernelQ4Q5<true, false>>(rows, n_columns, inputs, n_inputs, out);
}
void multiply_q5_1(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                   float* out) {
  for_rows_side_by_side<KernelQ4Q5<true, true>>(rows, n_columns, inputs, n_inputs, out);
}

void unpack_q4_0(const std::byte* blocks, int64_t n_values, CodedValues& coded) {
  KernelQ4Q5<false, false>::unpack(blocks, n_values, coded);
}
void unpack_q4_1(const std::byte* blocks, int64_t n_values, CodedValues& coded) {
  KernelQ4Q5<false, true>::unpack(blocks, n_values, coded);
}
void unpack_q5_0(const std::byte* blocks, int64_t n_values, CodedValues& coded) {
  KernelQ4Q5<true, false>::unpack(blocks, n_values, coded);
}
void unpack_q5_1(const std::byte* blocks, int64_t n_values, CodedValues& coded) {
  KernelQ4Q5<true, true>::unpack(blocks, n_values, coded);
}

}  // namespace sluice::kernels::avx2
#endif
