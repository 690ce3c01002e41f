// Rows of a KV cache to and from floats, eight values at a time; the bits are those of kernels/reference/cache_rows.cc.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/avx2/row_operations.h"

namespace sluice::kernels::avx2 {
namespace {

#define SLUICE_INLINE inline __attribute__((always_inline))

constexpr int64_t kBlockValues = 32;
constexpr int64_t kBlockBytes = 34;  // | scale f16 | q i8 x 32 |

// float32 to bfloat16, to the nearest, ties to even; a NaN keeps its top bits and becomes quiet.
SLUICE_INLINE __m128i narrow_to_bf16(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF))), 16);
  const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40));
  const __m256 is_nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
  const __m256i narrow = _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(is_nan));
  return _mm_packus_epi32(_mm256_castsi256_si128(narrow), _mm256_extracti128_si256(narrow, 1));
}

SLUICE_INLINE __m256 widen_bf16(__m128i x) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}

SLUICE_INLINE __m256i load_mask(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
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
  _mm_storeu_si128(reinterpret_cast<__m128i*>(rest), narrow_to_bf16(_mm256_maskload_ps(values + i, load_mask(n - i))));
  std::memcpy(to + i, rest, static_cast<size_t>(n - i) * sizeof rest[0]);
}

void store_block_q8_0(const float* values, char* block) {
  __m256 x[4];
  const __m256i no_sign = _mm256_set1_epi32(0x7FFFFFFF);
  __m256i magnitude = _mm256_setzero_si256();  // of floats without a sign, in the order of whole numbers
  for (int i = 0; i < 4; ++i) {
    x[i] = _mm256_loadu_ps(values + 8 * i);
    magnitude = _mm256_max_epi32(magnitude, _mm256_and_si256(_mm256_castps_si256(x[i]), no_sign));
  }
  __m128i largest = _mm_max_epi32(_mm256_castsi256_si128(magnitude), _mm256_extracti128_si256(magnitude, 1));
  largest = _mm_max_epi32(largest, _mm_shuffle_epi32(largest, _MM_SHUFFLE(1, 0, 3, 2)));
  largest = _mm_max_epi32(largest, _mm_shuffle_epi32(largest, _MM_SHUFFLE(2, 3, 0, 1)));
  uint16_t scale = 0;
  __m256i q = _mm256_setzero_si256();
  if (_mm_cvtsi128_si32(largest) >= 0x7F800000) {
    scale = 0x7E00;  // not finite: the scale is NaN
  } else {
    const float amax = _mm_cvtss_f32(_mm_castsi128_ps(largest));
    const float inverse = 127 / amax;
    if (inverse <= 3.40282347e+38f) {
      scale = _cvtss_sh(amax / 127, _MM_FROUND_TO_NEAREST_INT);
      __m256i whole[4];
      for (int i = 0; i < 4; ++i) whole[i] = _mm256_cvtps_epi32(_mm256_mul_ps(x[i], _mm256_set1_ps(inverse)));
      // Packing works in halves of 128 bits; the permutation puts groups of four back in order.
      const __m256i packed =
          _mm256_packs_epi16(_mm256_packs_epi32(whole[0], whole[1]), _mm256_packs_epi32(whole[2], whole[3]));
      q = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
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

SLUICE_INLINE float block_scale(const char* block) {
  uint16_t bits;
  std::memcpy(&bits, block, sizeof bits);
  return _cvtsh_ss(bits);
}

void load_q8_0(const char* block, int64_t n, float* values) {
  for (; n > 0; n -= kBlockValues, block += kBlockBytes) {
    const float scale = block_scale(block);
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
