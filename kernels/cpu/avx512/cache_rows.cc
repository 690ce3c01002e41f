// Rows of a KV cache to and from floats, sixteen values at a time; the bits are those of kernels/reference/cache_rows.cc.
#if defined(__x86_64__)
#include "kernels/cpu/avx512/row_operations.h"
#include "kernels/cpu/avx512/steps.h"

namespace sluice::kernels::avx512 {
namespace {

constexpr int64_t kBlockValues = 32;
constexpr int64_t kBlockBytes = 34;  // | scale f16 | q i8 x 32 |

// float32 to bfloat16, to the nearest, ties to even; a NaN keeps its top bits and becomes quiet.
SLUICE_AVX512_STEP __m256i narrow_to_bf16(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i top = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(top, _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF))), 16);
  const __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(rounded, is_nan, top, _mm512_set1_epi32(0x40)));
}

void store_f16(const float* values, int64_t n, uint16_t* to) {
  for_each_sixteen(n, [&](int64_t i, __mmask16 here) {
    _mm256_mask_storeu_epi16(to + i, here, _mm512_cvtps_ph(_mm512_maskz_loadu_ps(here, values + i), kToNearest));
  });
}

void store_bf16(const float* values, int64_t n, uint16_t* to) {
  for_each_sixteen(n, [&](int64_t i, __mmask16 here) {
    _mm256_mask_storeu_epi16(to + i, here, narrow_to_bf16(_mm512_maskz_loadu_ps(here, values + i)));
  });
}

void store_block_q8_0(const float* values, char* block) {
  uint16_t scale = 0;
  __m256i q = _mm256_setzero_si256();
  const int32_t bits = largest_magnitude_bits(values, kBlockValues);
  if (bits >= kInfinityBits) {
    scale = 0x7E00;  // not finite: the scale is NaN
  } else {
    const float amax = as_float(bits), inverse = 127 / amax;
    if (inverse <= 3.40282347e+38f) {
      scale = _cvtss_sh(amax / 127, _MM_FROUND_TO_NEAREST_INT);
      const __m512 factor = _mm512_set1_ps(inverse);
      q = narrow_32(round_16(values, factor), round_16(values + 16, factor));
    }
  }
  std::memcpy(block, &scale, sizeof scale);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(block + 2), q);
}

void store_q8_0(const float* values, int64_t n, char* to) {
  for (; n >= kBlockValues; n -= kBlockValues, values += kBlockValues, to += kBlockBytes) store_block_q8_0(values, to);
  if (n == 0) return;
  float rest[kBlockValues] = {};
  std::memcpy(rest, values, static_cast<size_t>(n) * sizeof(float));
  store_block_q8_0(rest, to);
}

void load_f16(const uint16_t* from, int64_t n, float* values) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) _mm512_storeu_ps(values + i, load_halves(from + i));
  if (i < n) _mm512_mask_storeu_ps(values + i, first_lanes(n - i), load_first_halves(from + i, n - i));
}

void load_bf16(const uint16_t* from, int64_t n, float* values) {
  for_each_sixteen(n, [&](int64_t i, __mmask16 here) {
    _mm512_mask_storeu_ps(values + i, here, widen_bf16(_mm256_maskz_loadu_epi16(here, from + i)));
  });
}

void load_q8_0(const char* block, int64_t n, float* values) {
  for (; n > 0; n -= kBlockValues, block += kBlockBytes, values += kBlockValues) {
    uint16_t bits;
    std::memcpy(&bits, block, sizeof bits);
    const __m512 scale = _mm512_set1_ps(_cvtsh_ss(bits));
    for_each_sixteen(smaller(n, kBlockValues), [&](int64_t i, __mmask16 here) {
      const __m512i whole = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(here, block + 2 + i));
      _mm512_mask_storeu_ps(values + i, here, _mm512_mul_ps(scale, _mm512_cvtepi32_ps(whole)));
    });
  }
}

}  // namespace

void store_cache_row(CacheType type, const float* values, int64_t n_columns, void* row) {
  switch (type) {
    case CacheType::F32:
      std::memcpy(row, values, static_cast<size_t>(n_columns) * sizeof(float));
      return;
    case CacheType::F16:
      return store_f16(values, n_columns, static_cast<uint16_t*>(row));
    case CacheType::BF16:
      return store_bf16(values, n_columns, static_cast<uint16_t*>(row));
    case CacheType::Q8_0:
      return store_q8_0(values, n_columns, static_cast<char*>(row));
  }
}

void load_cache_row(CacheType type, const void* row, int64_t n_columns, float* values) {
  switch (type) {
    case CacheType::F32:
      std::memcpy(values, row, static_cast<size_t>(n_columns) * sizeof(float));
      return;
    case CacheType::F16:
      return load_f16(static_cast<const uint16_t*>(row), n_columns, values);
    case CacheType::BF16:
      return load_bf16(static_cast<const uint16_t*>(row), n_columns, values);
    case CacheType::Q8_0:
      return load_q8_0(static_cast<const char*>(row), n_columns, values);
  }
}

}  // namespace sluice::kernels::avx512
#endif
