// Q8_0 and Q8_1: blocks of 32 signed bytes, value = scale * q.
//
//   Q8_0  34 bytes | scale f16 | q i8 x 32 |
//   Q8_1  36 bytes | scale f16 | sum f16 | q i8 x 32 |      the sum is scale * sum of q: nothing that q does not say
#if defined(__x86_64__)
#include "kernels/cpu/avx2/formats.h"
#include "kernels/cpu/avx2/integer_dot.h"

namespace sluice::kernels::avx2 {
namespace {

template <int64_t kCodesAt>
struct KernelQ8 {
  static constexpr int64_t kBlockBytes = kCodesAt + 32;
  static constexpr bool kHasMin = false;
  static constexpr int kZero = 0;
  SLUICE_AVX2_STEP __m256 scales(const std::byte* const* rows, int64_t at) { return eight_halves_at(rows, at); }
  SLUICE_AVX2_STEP __m256i whole(const std::byte* block, const reference::Activation32& x) {
    return dot_signed(load_bytes(block + kCodesAt), load_bytes(x.q));
  }
  static void unpack(const std::byte* blocks, int64_t n_values, CodedValues& coded) {
    for (int g = 0; g < 8; ++g, blocks += kBlockBytes) {
      const bool inside = 32 * g < n_values;
      store_codes(coded, g, inside ? load_bytes(blocks + kCodesAt) : _mm256_setzero_si256());
      coded.scale[g] = inside ? load_half(blocks) : 0;
    }
  }
};

}  // namespace

void multiply_q8_0(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                   float* out) {
  for_rows_side_by_side<KernelQ8<2>>(rows, n_columns, inputs, n_inputs, out);
}
void multiply_q8_1(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                   float* out) {
  for_rows_side_by_side<KernelQ8<4>>(rows, n_columns, inputs, n_inputs, out);
}
void unpack_q8_0(const std::byte* blocks, int64_t n_values, CodedValues& coded) {
  KernelQ8<2>::unpack(blocks, n_values, coded);
}
void unpack_q8_1(const std::byte* blocks, int64_t n_values, CodedValues& coded) {
  KernelQ8<4>::unpack(blocks, n_values, coded);
}

}  // namespace sluice::kernels::avx2
#endif
