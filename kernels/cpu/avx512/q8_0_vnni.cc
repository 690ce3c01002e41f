// Q8_0 and Q8_1 (kernels/cpu/avx2/q8_0.cc has the layout), with VNNI: codes are moved up by 128, and 128 times the input's sum
// comes off.
#if defined(__x86_64__)
#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/avx512/formats.h"
#include "kernels/cpu/avx512/steps.h"

namespace sluice::kernels::avx512_vnni {
namespace {

template <int64_t kCodesAt>
struct KernelQ8 {
  static constexpr int64_t kBlockBytes = kCodesAt + 32;
  static constexpr bool kHasMin = false;
  static constexpr int kZero = 128;
  SLUICE_AVX512_STEP __m256 scales(const std::byte* const* rows, int64_t at) { return avx2::eight_halves_at(rows, at); }
  SLUICE_AVX512_STEP __m256i whole(const std::byte* block, const reference::Activation32& x) {
    const __m256i codes = _mm256_xor_si256(avx2::load_bytes(block + kCodesAt), _mm256_set1_epi8(-128));
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), codes, avx2::load_bytes(x.q));
  }
};

}  // namespace

void multiply_q8_0(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                   float* out) {
  avx2::for_rows_side_by_side<KernelQ8<2>>(rows, n_columns, inputs, n_inputs, out);
}
void multiply_q8_1(const std::byte* const* rows, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                   float* out) {
  avx2::for_rows_side_by_side<KernelQ8<4>>(rows, n_columns, inputs, n_inputs, out);
}

}  // namespace sluice::kernels::avx512_vnni
#endif
