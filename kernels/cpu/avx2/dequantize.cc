// Blocks to floats, eight values a step. Products and differences are rounded one by one, as the reference does.
//
//   Q4_0, 18 bytes    | d f16 | q 16 x two nibbles |                                     d * (q - 8)
//   Q8_0, 34 bytes    | d f16 | q i8 x 32 |                                              d * q
//   Q4_K, 144 bytes   | d f16 | m f16 | scales 12 | q 128 |                              d * s * q - m * t
//   Q5_K, 176 bytes   | d f16 | m f16 | scales 12 | high bits 32 | q 128 |               d * s * q - m * t
//   Q6_K, 210 bytes   | q 128 | high two bits 64 | scales i8 x 16 | d f16 |              d * s * (q - 32)
//
// s and t are 6-bit numbers of a sub-block of 32 values; Q6_K's s is of 16 values.
#if defined(__x86_64__)
#include "kernels/cpu/avx2/dequantize.h"

#include "kernels/cpu/avx2/row_operations.h"
#include "kernels/cpu/avx2/steps.h"

namespace sluice::kernels::avx2 {
namespace {

// Eight bytes of `bytes` from the lowest of each half on, as floats.
SLUICE_AVX2_STEP __m256 floats_of(__m128i bytes) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

// 32 codes, in order, to values scale * code - offset.
SLUICE_AVX2_STEP void write_32(__m256i codes, float scale, float offset, float* values) {
  const __m256 factor = _mm256_set1_ps(scale), less = _mm256_set1_ps(offset);
  const __m128i low = _mm256_castsi256_si128(codes), high = _mm256_extracti128_si256(codes, 1);
  const __m128i parts[] = {low, _mm_unpackhi_epi64(low, low), high, _mm_unpackhi_epi64(high, high)};
  for (int i = 0; i < 4; ++i)
    _mm256_storeu_ps(values + 8 * i, _mm256_sub_ps(_mm256_mul_ps(factor, floats_of(parts[i])), less));
}

}  // namespace

void dequantize_f16(const std::byte* blocks, int64_t n_values, float* values) {
  load_cache_row(CacheType::F16, blocks, n_values, values);
}

void dequantize_bf16(const std::byte* blocks, int64_t n_values, float* values) {
  load_cache_row(CacheType::BF16, blocks, n_values, values);
}

void dequantize_q8_0(const std::byte* blocks, int64_t n_values, float* values) {
  load_cache_row(CacheType::Q8_0, blocks, n_values, values);
}

void dequantize_q4_0(const std::byte* block, int64_t n_values, float* values) {
  for (; n_values > 0; n_values -= 32, block += 18, values += 32) {
    write_32(_mm256_sub_epi8(unpack_nibbles(block + 2), _mm256_set1_epi8(8)), load_half(block), 0.0f, values);
  }
}

void dequantize_q4_k(const std::byte* block, int64_t n_values, float* values) {
  const __m256i low_nibble = _mm256_set1_epi8(15);
  for (; n_values > 0; n_values -= 256, block += 144) {
    const float scale = load_half(block), min = load_half(block + 2);
    alignas(16) uint8_t sub[16];
    _mm_store_si128(reinterpret_cast<__m128i*>(sub), unpack_scales_and_mins(block + 4));
    for (int j = 0; j < 8; j += 2, values += 64) {
      const __m256i q = load_bytes(block + 16 + 16 * j);
      write_32(_mm256_and_si256(q, low_nibble), scale * static_cast<float>(sub[j]),
               min * static_cast<float>(sub[8 + j]), values);
      write_32(_mm256_and_si256(_mm256_srli_epi16(q, 4), low_nibble), scale * static_cast<float>(sub[j + 1]),
               min * static_cast<float>(sub[9 + j]), values + 32);
    }
  }
}

void dequantize_q5_k(const std::byte* block, int64_t n_values, float* values) {
  const __m256i low_nibble = _mm256_set1_epi8(15), sixteen = _mm256_set1_epi8(16);
  for (; n_values > 0; n_values -= 256, block += 176) {
    const float scale = load_half(block), min = load_half(block + 2);
    alignas(16) uint8_t sub[16];
    _mm_store_si128(reinterpret_cast<__m128i*>(sub), unpack_scales_and_mins(block + 4));
    __m256i high = load_bytes(block + 16);  // bit j of byte i belongs to value i of sub-block j
    for (int j = 0; j < 8; ++j, values += 32) {
      const __m256i q = load_bytes(block + 48 + j / 2 * 32);
      const __m256i low = _mm256_and_si256(j % 2 == 0 ? q : _mm256_srli_epi16(q, 4), low_nibble);
      // The bit is shifted through bit 0; a shift of 16-bit lanes moves only bits that the mask then drops.
      const __m256i fifth =
          _mm256_and_si256(_mm256_slli_epi16(_mm256_and_si256(high, _mm256_set1_epi8(1)), 4), sixteen);
      write_32(_mm256_or_si256(low, fifth), scale * static_cast<float>(sub[j]), min * static_cast<float>(sub[8 + j]),
               values);
      high = _mm256_srli_epi16(high, 1);
    }
  }
}

void dequantize_q6_k(const std::byte* block, int64_t n_values, float* values) {
  const __m256i low_nibble = _mm256_set1_epi8(15), two_bits = _mm256_set1_epi8(3), offset = _mm256_set1_epi8(32);
  for (; n_values > 0; n_values -= 256, block += 210) {
    const float scale = load_half(block + 208);
    for (int j = 0; j < 8; ++j, values += 32) {  // 32 values with two scales
      const __m256i q = load_bytes(block + j / 4 * 64 + j % 2 * 32);
      const __m256i low = _mm256_and_si256(j % 4 < 2 ? q : _mm256_srli_epi16(q, 4), low_nibble);
      const __m256i high = _mm256_srl_epi16(load_bytes(block + 128 + j / 4 * 32), _mm_cvtsi32_si128(j % 4 * 2));
      const __m256i codes =
          _mm256_sub_epi8(_mm256_or_si256(low, _mm256_slli_epi16(_mm256_and_si256(high, two_bits), 4)), offset);
      const __m128i halves[] = {_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1)};
      for (int h = 0; h < 2; ++h) {
        const auto sub = static_cast<int8_t>(block[192 + 2 * j + h]);
        const __m256 factor = _mm256_set1_ps(scale * static_cast<float>(sub));
        _mm256_storeu_ps(values + 16 * h, _mm256_mul_ps(factor, floats_of(halves[h])));
        _mm256_storeu_ps(values + 16 * h + 8,
                         _mm256_mul_ps(factor, floats_of(_mm_unpackhi_epi64(halves[h], halves[h]))));
      }
    }
  }
}

}  // namespace sluice::kernels::avx2
#endif
