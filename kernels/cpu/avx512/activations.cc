// The 8-bit forms of activations; the bits are those of kernels/reference/activations.cc.
#if defined(__x86_64__)
#include "kernels/cpu/avx512/row_operations.h"
#include "kernels/cpu/avx512/steps.h"

namespace sluice::kernels::avx512 {
namespace {

constexpr float kLargestFloat = 3.40282347e+38f;

// 64 whole numbers in [-128, 127] as bytes, in order.
SLUICE_AVX512_STEP __m512i narrow_64(const __m512i* whole) {
  // Packing works in quarters of 128 bits; the permutation puts groups of four back in order.
  const __m512i packed =
      _mm512_packs_epi16(_mm512_packs_epi32(whole[0], whole[1]), _mm512_packs_epi32(whole[2], whole[3]));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_permutexvar_epi32(order, packed);
}

// Sums of 16 neighbours of 256 bytes.
SLUICE_AVX512_STEP __m256i sums_of_16(const __m512i* q) {
  __m512i sums[4];  // of eight bytes each, with 128 added to every one to make it unsigned
  for (int k = 0; k < 4; ++k)
    sums[k] = _mm512_sad_epu8(_mm512_xor_si512(q[k], _mm512_set1_epi8(-128)), _mm512_setzero_si512());
  // Pairs of neighbours: quarter j of these holds group j of q[0] and q[1], of q[2] and q[3].
  const __m512i sums01 =
      _mm512_add_epi64(_mm512_unpacklo_epi64(sums[0], sums[1]), _mm512_unpackhi_epi64(sums[0], sums[1]));
  const __m512i sums23 =
      _mm512_add_epi64(_mm512_unpacklo_epi64(sums[2], sums[3]), _mm512_unpackhi_epi64(sums[2], sums[3]));
  const __m512i all = _mm512_or_si512(sums01, _mm512_slli_epi64(sums23, 32));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 1, 5, 9, 13, 3, 7, 11, 15);
  const __m512i in_order = _mm512_permutexvar_epi32(order, all);
  return _mm512_cvtepi32_epi16(_mm512_sub_epi32(in_order, _mm512_set1_epi32(16 * 128)));
}

}  // namespace

bool quantize_per32(const float* values, int64_t n_values, reference::Activation32* blocks) {
  for (int64_t b = 0; b < n_values / 32; ++b, values += 32) {
    reference::Activation32& block = blocks[b];
    const int32_t bits = largest_magnitude_bits(values, 32);
    if (bits >= kInfinityBits) return false;
    const float amax = as_float(bits), inverse = 127 / amax;
    if (!(inverse <= kLargestFloat)) {
      block = reference::Activation32{};
      continue;
    }
    const __m512 factor = _mm512_set1_ps(inverse);
    const __m512i first = round_16(values, factor), second = round_16(values + 16, factor);
    block.scale = amax / 127;
    block.sum = static_cast<int32_t>(_mm512_reduce_add_epi32(_mm512_add_epi32(first, second)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(block.q), narrow_32(first, second));
  }
  return true;
}

bool quantize_per256(const float* values, int64_t n_values, reference::Activation256* blocks) {
  for (int64_t b = 0; b < n_values / 256; ++b, values += 256) {
    reference::Activation256& block = blocks[b];
    const int32_t bits = largest_magnitude_bits(values, 256);
    if (bits >= kInfinityBits) return false;
    const float amax = as_float(bits), inverse = 127 / amax;
    if (!(inverse <= kLargestFloat)) {
      block = reference::Activation256{};
      continue;
    }
    const __m512 factor = _mm512_set1_ps(inverse);
    block.scale = amax / 127;
    __m512i q[4];
    for (int k = 0; k < 4; ++k) {
      __m512i whole[4];
      for (int i = 0; i < 4; ++i) whole[i] = round_16(values + 64 * k + 16 * i, factor);
      q[k] = narrow_64(whole);
      _mm512_storeu_si512(block.q + 64 * k, q[k]);
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(block.sums), sums_of_16(q));
  }
  return true;
}

}  // namespace sluice::kernels::avx512
#endif
