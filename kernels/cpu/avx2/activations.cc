// The 8-bit forms of activations; the bits are those of kernels/reference/activations.cc.
#if defined(__x86_64__)
#include "kernels/cpu/avx2/row_operations.h"
#include "kernels/cpu/avx2/steps.h"

namespace sluice::kernels::avx2 {
namespace {

// The sums of the first and the last 16 of 32 bytes, in lanes 0 and 4 of 32 bits (and half-way in others).
SLUICE_AVX2_STEP __m256i sums_of_16(__m256i q) {
  const __m256i offset = _mm256_set1_epi8(-128);  // q + 128 as unsigned bytes
  const __m256i sums = _mm256_sad_epu8(_mm256_xor_si256(q, offset), _mm256_setzero_si256());
  return _mm256_sub_epi32(_mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, _MM_SHUFFLE(1, 0, 3, 2))),
                          _mm256_set1_epi32(16 * 128));
}

}  // namespace

bool quantize_per32(const float* values, int64_t n_values, reference::Activation32* blocks) {
  for (int64_t b = 0; b < n_values / 32; ++b, values += 32) {
    reference::Activation32& block = blocks[b];
    const int32_t bits = largest_magnitude_bits(values, 32);
    if (bits >= kInfinityBits) return false;
    const float amax = as_float(bits), inverse = 127 / amax;
    if (!(inverse <= 3.40282347e+38f)) {
      block = reference::Activation32{};
      continue;
    }
    const __m256i q = round_32(values, _mm256_set1_ps(inverse));
    const __m256i sums = sums_of_16(q);
    block.scale = amax / 127;
    block.sum = _mm256_extract_epi32(sums, 0) + _mm256_extract_epi32(sums, 4);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(block.q), q);
  }
  return true;
}

bool quantize_per256(const float* values, int64_t n_values, reference::Activation256* blocks) {
  for (int64_t b = 0; b < n_values / 256; ++b, values += 256) {
    reference::Activation256& block = blocks[b];
    const int32_t bits = largest_magnitude_bits(values, 256);
    if (bits >= kInfinityBits) return false;
    const float amax = as_float(bits), inverse = 127 / amax;
    if (!(inverse <= 3.40282347e+38f)) {
      block = reference::Activation256{};
      continue;
    }
    const __m256 factor = _mm256_set1_ps(inverse);
    block.scale = amax / 127;
    for (int i = 0; i < 8; ++i) {
      const __m256i q = round_32(values + 32 * i, factor);
      const __m256i sums = sums_of_16(q);
      block.sums[2 * i] = static_cast<int16_t>(_mm256_extract_epi32(sums, 0));
      block.sums[2 * i + 1] = static_cast<int16_t>(_mm256_extract_epi32(sums, 4));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(block.q + 32 * i), q);
    }
  }
  return true;
}

}  // namespace sluice::kernels::avx2
#endif
