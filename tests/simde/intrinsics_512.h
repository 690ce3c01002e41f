// The intrinsics of AVX-512 that SIMDe 0.7.4 lacks, or has with a fault, by name. A compiler may have a macro of the same name,
// hence the #undef. What a new kernel misses is a compile error: add it here.
//
// Masked loads and stores, conversions and the like are written with the templates of tests/simde/lanes.h.
#pragma once

#include "tests/simde/lanes.h"

#define SLUICE_SIMULATED(name) ::sluice::simulated::name

// ---- Half precision, by the machine's own F16C.
namespace sluice::simulated {
inline __m512 half_to_float(__m256i x) {
  const __m512 low = insert_part(__m512{}, _mm256_cvtph_ps(_mm256_castsi256_si128(x)), 0);
  return insert_part(low, _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1)), 1);
}
template <int kRounding>
__m256i float_to_half(__m512 x) {
  return _mm256_set_m128i(_mm256_cvtps_ph(extract_part<__m256>(x, 1), kRounding & 7),
                          _mm256_cvtps_ph(extract_part<__m256>(x, 0), kRounding & 7));
}
}  // namespace sluice::simulated
#undef _mm512_cvtph_ps
#define _mm512_cvtph_ps(x) SLUICE_SIMULATED(half_to_float)(x)
#undef _mm512_cvtps_ph
#define _mm512_cvtps_ph(x, rounding) SLUICE_SIMULATED(float_to_half)<(rounding)>(x)

// ---- Sums and extremes of all lanes.
#undef _mm512_reduce_add_ps
#define _mm512_reduce_add_ps(x) SLUICE_SIMULATED(reduce)<float>((x), [](float a, float b) { return a + b; })
#undef _mm512_reduce_add_pd
#define _mm512_reduce_add_pd(x) SLUICE_SIMULATED(reduce)<double>((x), [](double a, double b) { return a + b; })
#undef _mm512_reduce_max_ps
#define _mm512_reduce_max_ps(x) SLUICE_SIMULATED(reduce)<float>((x), [](float a, float b) { return a > b ? a : b; })
#undef _mm512_reduce_max_epi32
#define _mm512_reduce_max_epi32(x) \
  SLUICE_SIMULATED(reduce)<int32_t>((x), [](int32_t a, int32_t b) { return a > b ? a : b; })
#undef _mm512_reduce_add_epi32
#define _mm512_reduce_add_epi32(x) SLUICE_SIMULATED(reduce)<uint32_t>((x), [](uint32_t a, uint32_t b) { return a + b; })

// ---- Conversions.
#undef _mm512_cvtepi8_epi16
#define _mm512_cvtepi8_epi16(x) (SLUICE_SIMULATED(convert) < int16_t, __m512i, int8_t, __m256i > (x))
#undef _mm512_cvtepu8_epi16
#define _mm512_cvtepu8_epi16(x) (SLUICE_SIMULATED(convert) < int16_t, __m512i, uint8_t, __m256i > (x))
#undef _mm512_cvtepi8_epi32
#define _mm512_cvtepi8_epi32(x) (SLUICE_SIMULATED(convert) < int32_t, __m512i, int8_t, __m128i > (x))
#undef _mm512_cvtepu8_epi32
#define _mm512_cvtepu8_epi32(x) (SLUICE_SIMULATED(convert) < int32_t, __m512i, uint8_t, __m128i > (x))
#undef _mm512_cvtepi16_epi32
#define _mm512_cvtepi16_epi32(x) (SLUICE_SIMULATED(convert) < int32_t, __m512i, int16_t, __m256i > (x))
#undef _mm512_cvtepu16_epi32
#define _mm512_cvtepu16_epi32(x) (SLUICE_SIMULATED(convert) < int32_t, __m512i, uint16_t, __m256i > (x))
#undef _mm512_cvtepu8_epi64
#define _mm512_cvtepu8_epi64(x) (SLUICE_SIMULATED(convert) < int64_t, __m512i, uint8_t, __m128i > (x))
#undef _mm512_cvtepu16_epi64
#define _mm512_cvtepu16_epi64(x) (SLUICE_SIMULATED(convert) < int64_t, __m512i, uint16_t, __m128i > (x))
#undef _mm512_cvtepi32_epi64
#define _mm512_cvtepi32_epi64(x) (SLUICE_SIMULATED(convert) < int64_t, __m512i, int32_t, __m256i > (x))
#undef _mm512_cvtepu32_epi64
#define _mm512_cvtepu32_epi64(x) (SLUICE_SIMULATED(convert) < int64_t, __m512i, uint32_t, __m256i > (x))
#undef _mm512_cvtepi32_epi8
#define _mm512_cvtepi32_epi8(x) (SLUICE_SIMULATED(convert) < int8_t, __m128i, int32_t, __m512i > (x))
#undef _mm512_cvtepi32_epi16
#define _mm512_cvtepi32_epi16(x) (SLUICE_SIMULATED(convert) < int16_t, __m256i, int32_t, __m512i > (x))
#undef _mm512_cvtepi16_epi8
#define _mm512_cvtepi16_epi8(x) (SLUICE_SIMULATED(convert) < int8_t, __m256i, int16_t, __m512i > (x))
#undef _mm512_cvtepi64_epi16
#define _mm512_cvtepi64_epi16(x) (SLUICE_SIMULATED(convert) < int16_t, __m128i, int64_t, __m512i > (x))
#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps(x) (SLUICE_SIMULATED(convert) < float, __m512, int32_t, __m512i > (x))
#undef _mm512_cvtepu32_ps
#define _mm512_cvtepu32_ps(x) (SLUICE_SIMULATED(convert) < float, __m512, uint32_t, __m512i > (x))
#undef _mm512_cvtps_pd
#define _mm512_cvtps_pd(x) (SLUICE_SIMULATED(convert) < double, __m512d, float, __m256 > (x))
#undef _mm512_cvtpd_ps
#define _mm512_cvtpd_ps(x) (SLUICE_SIMULATED(convert) < float, __m256, double, __m512d > (x))
// To whole numbers as the machine rounds, also what does not fit.
#undef _mm512_cvtps_epi32
#define _mm512_cvtps_epi32(x)                              \
  (SLUICE_SIMULATED(convert_by) < int32_t, __m512i, float, \
   __m512 > ((x), [](float lane) { return _mm_cvtss_si32(_mm_set_ss(lane)); }))
#undef _mm512_cvttps_epi32
#define _mm512_cvttps_epi32(x)                             \
  (SLUICE_SIMULATED(convert_by) < int32_t, __m512i, float, \
   __m512 > ((x), [](float lane) { return _mm_cvttss_si32(_mm_set_ss(lane)); }))
#undef _mm512_cvtpd_epi32
#define _mm512_cvtpd_epi32(x)                               \
  (SLUICE_SIMULATED(convert_by) < int32_t, __m256i, double, \
   __m512d > ((x), [](double lane) { return _mm_cvtsd_si32(_mm_set_sd(lane)); }))
#undef _mm512_cvtpd_epi64
#define _mm512_cvtpd_epi64(x)                               \
  (SLUICE_SIMULATED(convert_by) < int64_t, __m512i, double, \
   __m512d > ((x), [](double lane) { return _mm_cvtsd_si64(_mm_set_sd(lane)); }))
#undef _mm512_cvtss_f32
#define _mm512_cvtss_f32(x) (SLUICE_SIMULATED(lanes_of) < float > (x).at[0])
#undef _mm512_cvtsi512_si32
#define _mm512_cvtsi512_si32(x) (SLUICE_SIMULATED(lanes_of) < int32_t > (x).at[0])
#undef _mm512_zextsi256_si512
#define _mm512_zextsi256_si512(x) (SLUICE_SIMULATED(insert_part)(_mm512_setzero_si512(), (x), 0))
#undef _mm512_zextsi128_si512
#define _mm512_zextsi128_si512(x) (SLUICE_SIMULATED(insert_part)(_mm512_setzero_si512(), (x), 0))

// ---- Masked loads and stores.
#define SLUICE_LOAD(T, others, mask, p) (SLUICE_SIMULATED(load_masked) < T > ((others), (mask), (p)))
#define SLUICE_STORE(T, p, mask, x) (SLUICE_SIMULATED(store_masked) < T > ((p), (mask), (x)))
#undef _mm512_maskz_loadu_epi8
#define _mm512_maskz_loadu_epi8(mask, p) SLUICE_LOAD(int8_t, _mm512_setzero_si512(), mask, p)
#undef _mm512_mask_loadu_epi8
#define _mm512_mask_loadu_epi8(others, mask, p) SLUICE_LOAD(int8_t, others, mask, p)
#undef _mm512_maskz_loadu_epi16
#define _mm512_maskz_loadu_epi16(mask, p) SLUICE_LOAD(int16_t, _mm512_setzero_si512(), mask, p)
#undef _mm512_maskz_loadu_epi32
#define _mm512_maskz_loadu_epi32(mask, p) SLUICE_LOAD(int32_t, _mm512_setzero_si512(), mask, p)
#undef _mm512_maskz_loadu_epi64
#define _mm512_maskz_loadu_epi64(mask, p) SLUICE_LOAD(int64_t, _mm512_setzero_si512(), mask, p)
#undef _mm512_maskz_loadu_ps
#define _mm512_maskz_loadu_ps(mask, p) SLUICE_LOAD(float, _mm512_setzero_ps(), mask, p)
#undef _mm512_mask_loadu_ps
#define _mm512_mask_loadu_ps(others, mask, p) SLUICE_LOAD(float, others, mask, p)
#undef _mm256_maskz_loadu_epi8
#define _mm256_maskz_loadu_epi8(mask, p) SLUICE_LOAD(int8_t, _mm256_setzero_si256(), mask, p)
#undef _mm256_maskz_loadu_epi16
#define _mm256_maskz_loadu_epi16(mask, p) SLUICE_LOAD(int16_t, _mm256_setzero_si256(), mask, p)
#undef _mm256_maskz_loadu_ps
#define _mm256_maskz_loadu_ps(mask, p) SLUICE_LOAD(float, _mm256_setzero_ps(), mask, p)
#undef _mm256_mask_loadu_ps
#define _mm256_mask_loadu_ps(others, mask, p) SLUICE_LOAD(float, others, mask, p)
#undef _mm_maskz_loadu_epi8
#define _mm_maskz_loadu_epi8(mask, p) SLUICE_LOAD(int8_t, _mm_setzero_si128(), mask, p)
#undef _mm512_mask_storeu_epi8
#define _mm512_mask_storeu_epi8(p, mask, x) SLUICE_STORE(int8_t, p, mask, x)
#undef _mm512_mask_storeu_epi16
#define _mm512_mask_storeu_epi16(p, mask, x) SLUICE_STORE(int16_t, p, mask, x)
#undef _mm512_mask_storeu_epi32
#define _mm512_mask_storeu_epi32(p, mask, x) SLUICE_STORE(int32_t, p, mask, x)
#undef _mm512_mask_storeu_ps
#define _mm512_mask_storeu_ps(p, mask, x) SLUICE_STORE(float, p, mask, x)
#undef _mm256_mask_storeu_epi8
#define _mm256_mask_storeu_epi8(p, mask, x) SLUICE_STORE(int8_t, p, mask, x)
#undef _mm256_mask_storeu_epi16
#define _mm256_mask_storeu_epi16(p, mask, x) SLUICE_STORE(int16_t, p, mask, x)
#undef _mm256_mask_storeu_ps
#define _mm256_mask_storeu_ps(p, mask, x) SLUICE_STORE(float, p, mask, x)
#undef _mm_mask_storeu_epi8
#define _mm_mask_storeu_epi8(p, mask, x) SLUICE_STORE(int8_t, p, mask, x)

// ---- Gathers.
#undef _mm512_i32gather_epi32
#define _mm512_i32gather_epi32(indices, base, scale) \
  (SLUICE_SIMULATED(gather) < int32_t, int32_t > (_mm512_setzero_si512(), ~0ull, (indices), (base), (scale)))
#undef _mm512_i32gather_ps
#define _mm512_i32gather_ps(indices, base, scale) \
  (SLUICE_SIMULATED(gather) < float, int32_t > (_mm512_setzero_ps(), ~0ull, (indices), (base), (scale)))
#undef _mm512_i32gather_epi64
#define _mm512_i32gather_epi64(indices, base, scale) \
  (SLUICE_SIMULATED(gather) < int64_t, int32_t > (_mm512_setzero_si512(), ~0ull, (indices), (base), (scale)))
#undef _mm512_i64gather_epi64
#define _mm512_i64gather_epi64(indices, base, scale) \
  (SLUICE_SIMULATED(gather) < int64_t, int64_t > (_mm512_setzero_si512(), ~0ull, (indices), (base), (scale)))

// ---- Comparisons to masks.
#undef _mm512_cmp_epi8_mask
#define _mm512_cmp_epi8_mask(a, b, how) static_cast<__mmask64>(SLUICE_SIMULATED(compare) < int8_t > ((a), (b), (how)))
#undef _mm512_cmp_epu8_mask
#define _mm512_cmp_epu8_mask(a, b, how) static_cast<__mmask64>(SLUICE_SIMULATED(compare) < uint8_t > ((a), (b), (how)))
#undef _mm512_cmp_epi16_mask
#define _mm512_cmp_epi16_mask(a, b, how) static_cast<__mmask32>(SLUICE_SIMULATED(compare) < int16_t > ((a), (b), (how)))
#undef _mm512_cmp_epi32_mask
#define _mm512_cmp_epi32_mask(a, b, how) static_cast<__mmask16>(SLUICE_SIMULATED(compare) < int32_t > ((a), (b), (how)))
#undef _mm512_cmplt_epi32_mask
#define _mm512_cmplt_epi32_mask(a, b) _mm512_cmp_epi32_mask(a, b, 1)
#undef _mm512_testn_epi8_mask
#define _mm512_testn_epi8_mask(a, b) static_cast<__mmask64>(~_mm512_test_epi8_mask(a, b))
#undef _mm256_cmp_epi8_mask
#define _mm256_cmp_epi8_mask(a, b, how) static_cast<__mmask32>(SLUICE_SIMULATED(compare) < int8_t > ((a), (b), (how)))

// ---- Parts of vectors, moved about.
#undef _mm512_extractf32x8_ps
#define _mm512_extractf32x8_ps(x, index) (SLUICE_SIMULATED(extract_part) < __m256 > ((x), (index)))
#undef _mm512_extracti32x8_epi32
#define _mm512_extracti32x8_epi32(x, index) (SLUICE_SIMULATED(extract_part) < __m256i > ((x), (index)))
#undef _mm512_extracti64x4_epi64
#define _mm512_extracti64x4_epi64(x, index) (SLUICE_SIMULATED(extract_part) < __m256i > ((x), (index)))
#undef _mm512_extracti32x4_epi32
#define _mm512_extracti32x4_epi32(x, index) (SLUICE_SIMULATED(extract_part) < __m128i > ((x), (index)))
#undef _mm512_inserti32x8
#define _mm512_inserti32x8(x, part, index) (SLUICE_SIMULATED(insert_part)((x), (part), (index)))
#undef _mm512_inserti64x2
#define _mm512_inserti64x2(x, part, index) (SLUICE_SIMULATED(insert_part)((x), (part), (index)))
#undef _mm512_broadcast_i64x2
#define _mm512_broadcast_i64x2 _mm512_broadcast_i32x4
#undef _mm512_broadcast_i32x8
#define _mm512_broadcast_i32x8 _mm512_broadcast_i64x4
#undef _mm512_alignr_epi8
#define _mm512_alignr_epi8(high, low, shift) (SLUICE_SIMULATED(align_right) < uint8_t, 16 > ((high), (low), (shift)))
#undef _mm512_alignr_epi32
#define _mm512_alignr_epi32(high, low, shift) \
  (SLUICE_SIMULATED(align_right) < uint32_t, 16 > ((high), (low), (shift)&15))
#undef _mm512_shuffle_epi32
#define _mm512_shuffle_epi32(x, choose) (SLUICE_SIMULATED(shuffle_in_groups) < uint32_t, 4 > ((x), (choose)))
#undef _mm512_permute_ps
#define _mm512_permute_ps(x, choose) (SLUICE_SIMULATED(shuffle_in_groups) < float, 4 > ((x), (choose)))
#undef _mm512_permutex_epi64
#define _mm512_permutex_epi64(x, choose) (SLUICE_SIMULATED(shuffle_in_groups) < uint64_t, 4 > ((x), (choose)))
#undef _mm512_shuffle_i32x4
#define _mm512_shuffle_i32x4(x, y, choose) (SLUICE_SIMULATED(shuffle_quarters)((x), (y), (choose)))
#undef _mm512_shuffle_i64x2
#define _mm512_shuffle_i64x2(x, y, choose) (SLUICE_SIMULATED(shuffle_quarters)((x), (y), (choose)))
#undef _mm512_shuffle_f32x4
#define _mm512_shuffle_f32x4(x, y, choose) (SLUICE_SIMULATED(shuffle_quarters)((x), (y), (choose)))
#undef _mm512_moveldup_ps
#define _mm512_moveldup_ps(x) _mm512_permute_ps((x), 0xA0)
#undef _mm512_movehdup_ps
#define _mm512_movehdup_ps(x) _mm512_permute_ps((x), 0xF5)

// ---- Shifts, products, undefined registers.
// SIMDe 0.7.4 lets signed bytes overflow, and shifts by 64 for a place of 0.
#undef _mm512_add_epi8
#define _mm512_add_epi8(a, b)        \
  (SLUICE_SIMULATED(map) < uint8_t > \
   ((a), (b), [](uint8_t lane, uint8_t other) { return static_cast<uint8_t>(lane + other); }))
namespace sluice::simulated {
inline __m512i multishift(__m512i places, __m512i x) {
  auto bytes = lanes_of<uint8_t>(places);
  const auto from = lanes_of<uint64_t>(x);
  for (size_t i = 0; i < bytes.kCount; ++i) {
    const unsigned place = bytes.at[i] & 63u;
    bytes.at[i] = static_cast<uint8_t>(from.at[i / 8] >> place | from.at[i / 8] << (-place & 63u));
  }
  return vector_of<uint8_t>(bytes);
}
}  // namespace sluice::simulated
#undef _mm512_multishift_epi64_epi8
#define _mm512_multishift_epi64_epi8(places, x) SLUICE_SIMULATED(multishift)((places), (x))
#undef _mm512_srai_epi32
#define _mm512_srai_epi32(x, n) \
  (SLUICE_SIMULATED(map) < int32_t > ((x), [&](int32_t lane) { return lane >> ((n) > 31 ? 31 : (n)); }))
#undef _mm512_srav_epi32
#define _mm512_srav_epi32(x, n)      \
  (SLUICE_SIMULATED(map) < int32_t > \
   ((x), (n), [](int32_t a, int32_t by) { return a >> (by < 0 || by > 31 ? 31 : by); }))
// SIMDe 0.7.4 gives this name four arguments.
#undef _mm512_madd_epi16
#define _mm512_madd_epi16(a, b) simde_mm512_madd_epi16((a), (b))
#undef _mm512_undefined_epi32
#define _mm512_undefined_epi32 _mm512_setzero_si512

// ---- Masks as numbers.
#undef _cvtmask64_u64
#define _cvtmask64_u64(mask) static_cast<uint64_t>(mask)
#undef _cvtu64_mask64
#define _cvtu64_mask64(number) static_cast<__mmask64>(number)
#undef _cvtmask16_u32
#define _cvtmask16_u32(mask) static_cast<uint32_t>(mask)
#undef _cvtu32_mask16
#define _cvtu32_mask16(number) static_cast<__mmask16>(number)
#undef _cvtu32_mask32
#define _cvtu32_mask32(number) static_cast<__mmask32>(number)
#undef _kand_mask64
#define _kand_mask64(a, b) static_cast<__mmask64>((a) & (b))
#undef _kor_mask64
#define _kor_mask64(a, b) static_cast<__mmask64>((a) | (b))
#undef _kxor_mask64
#define _kxor_mask64(a, b) static_cast<__mmask64>((a) ^ (b))
#undef _knot_mask64
#define _knot_mask64(a) static_cast<__mmask64>(~(a))
