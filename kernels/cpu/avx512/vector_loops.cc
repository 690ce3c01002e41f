// The vector loops for AVX-512, sixteen floats at a time; the bits are those of kernels/cpu/vector_loops.inc: of its four
// vectors of partial sums, two lie in each register here.
#if defined(__x86_64__)
#include "kernels/cpu/vector_loops.h"

#include "kernels/cpu/avx512/steps.h"

namespace sluice::kernels {
namespace avx512 {
namespace {

constexpr int64_t kLanes = 16;

SLUICE_AVX512_STEP __m512 load(const float* p) {
  return _mm512_loadu_ps(p);
}
SLUICE_AVX512_STEP __m512 load(const uint16_t* p) {
  return load_halves(p);
}
SLUICE_AVX512_STEP __m512 load_first(const float* p, int64_t n) {
  return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
SLUICE_AVX512_STEP __m512 load_first(const uint16_t* p, int64_t n) {
  return load_first_halves(p, n);
}
SLUICE_AVX512_STEP float to_float(float x) {
  return x;
}
SLUICE_AVX512_STEP float to_float(uint16_t x) {
  return _cvtsh_ss(x);
}

template <typename A>
SLUICE_AVX512_STEP float dot_loop(const A* a, const float* b, int64_t n) {
  __m512 sums01 = _mm512_setzero_ps(), sums23 = _mm512_setzero_ps();
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    sums01 = _mm512_add_ps(sums01, _mm512_mul_ps(load(a + i), load(b + i)));
    sums23 = _mm512_add_ps(sums23, _mm512_mul_ps(load(a + i + kLanes), load(b + i + kLanes)));
  }
  const __m256 first = _mm256_add_ps(lower_half(sums01), upper_half(sums01));
  const __m256 second = _mm256_add_ps(lower_half(sums23), upper_half(sums23));
  float total = add_lanes(_mm256_add_ps(first, second));
  for (; i < n; ++i) total += to_float(a[i]) * b[i];
  return total;
}

template <typename X>
SLUICE_AVX512_STEP void add_scaled_loop(float scale, const X* x, float* y, int64_t n) {
  const __m512 scales = _mm512_set1_ps(scale);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    _mm512_storeu_ps(y + i, _mm512_add_ps(load(y + i), _mm512_mul_ps(load(x + i), scales)));
  if (i == n) return;
  const __m512 sums = _mm512_add_ps(load_first(y + i, n - i), _mm512_mul_ps(load_first(x + i, n - i), scales));
  _mm512_mask_storeu_ps(y + i, first_lanes(n - i), sums);
}

float dot(const float* a, const float* b, int64_t n) {
  return dot_loop(a, b, n);
}
float dot_half(const uint16_t* a, const float* b, int64_t n) {
  return dot_loop(a, b, n);
}
void add_scaled(float scale, const float* x, float* y, int64_t n) {
  add_scaled_loop(scale, x, y, n);
}
void add_scaled_half(float scale, const uint16_t* x, float* y, int64_t n) {
  add_scaled_loop(scale, x, y, n);
}

void half_to_float(const uint16_t* half, float* values, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) _mm512_storeu_ps(values + i, load_halves(half + i));
  if (i < n) _mm512_mask_storeu_ps(values + i, first_lanes(n - i), load_first_halves(half + i, n - i));
}

void float_to_half(const float* values, uint16_t* half, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(half + i), _mm512_cvtps_ph(load(values + i), kToNearest));
  if (i < n)
    _mm256_mask_storeu_epi16(half + i, first_lanes(n - i), _mm512_cvtps_ph(load_first(values + i, n - i), kToNearest));
}

}  // namespace
}  // namespace avx512

const VectorLoops kVectorLoopsAvx512 = {avx512::dot,           avx512::dot_half,
                                        avx512::add_scaled,    avx512::add_scaled_half,
                                        avx512::half_to_float, avx512::float_to_half};

}  // namespace sluice::kernels
#endif
