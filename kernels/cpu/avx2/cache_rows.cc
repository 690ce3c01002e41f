// Rows of a KV cache to and from floats, eight values at a time; the bits are those of kernels/reference/cache_rows.cc.
#if defined(__x86_64__)
#include "kernels/cpu/avx2/row_operations.h"
#include "kernels/cpu/avx2/steps.h"

namespace sluice::kernels::avx2 {
namespace {

constexpr int64_t kBlockValues = 32;
constexpr int64_t kBlockBytes = 34;  // | scale f16 | q i8 x 32 |

// float32 to bfloat16, to the nearest, ties to even; a NaN keeps its top bits and becomes quiet.
SLUICE_AVX2_STEP __m128i narrow_to_bf16(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF))), 16);
  const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40));
  const __m256 is_nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
  const __m256i narrow = _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(is_nan));
  return _mm_packus_epi32(_mm256_castsi256_si128(narrow), _mm256_extracti128_si256(narrow, 1));
}

void store_f16(const float* values, int64_t n, uint16_t* to) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(values + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  for (; i < n; ++i) to[i] = _cvtss_sh(values[i], _MM_FROUND_TO_NEAREST_INT);
}

void store_bf16(const float* values, int64_t n, uint16_t* to) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), narrow_to_bf16(_mm256_loadu_ps(values + i)));
  if (i == n) return;
  uint16_t rest[8];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(rest),
                   narrow_to_bf16(_mm256_maskload_ps(values + i, first_lanes(n - i))));
  std::memcpy(to + i, rest, static_cast<size_t>(n - i) * sizeof rest[0]);
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
      q = round_32(values, _mm256_set1_ps(inverse));
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
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(values + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
  for (; i < n; ++i) values[i] = _cvtsh_ss(from[i]);
}

void load_bf16(const uint16_t* from, int64_t n, float* values) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(values + i, widen_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
  for (; i < n; ++i) {
    const uint32_t bits = static_cast<uint32_t>(from[i]) << 16;
    std::memcpy(values + i, &bits, sizeof bits);
  }
}

void load_q8_0(const char* block, int64_t n, float* values) {
  for (; n > 0; n -= kBlockValues, block += kBlockBytes) {
    const float scale = load_half(reinterpret_cast<const std::byte*>(block));
    const char* q = block + 2;
    const int64_t here = n < kBlockValues ? n : kBlockValues;
    int64_t i = 0;
    for (; i + 8 <= here; i += 8) {
      const __m256i whole = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(q + i)));
      _mm256_storeu_ps(values + i, _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_cvtepi32_ps(whole)));
    }
    for (; i < here; ++i) values[i] = scale * static_cast<float>(static_cast<int8_t>(q[i]));
    values += here;
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

}  // namespace sluice::kernels::avx2
#endif
