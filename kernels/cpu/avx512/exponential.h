// exp of sixteen floats, within 2 units in the last place. Static, as everything that files for AVX-512 share.
#pragma once

#include <immintrin.h>

namespace sluice::kernels::avx512 {

// exp(x) = 2^n exp(r) with n = round(x / ln 2) and |r| <= ln 2 / 2, where seven terms of the series leave 6e-9. Below
// -87.3, where exp would no longer be a normal number, 0; above 88 exp(88). A NaN stays a NaN.
static inline __attribute__((always_inline)) __m512 exponential(__m512 x) {
  const __m512 least = _mm512_set1_ps(-87.3f);
  const __mmask16 remains = _mm512_cmp_ps_mask(x, least, _CMP_NLT_UQ);
  x = _mm512_min_ps(_mm512_set1_ps(88.0f), _mm512_max_ps(least, x));  // the second operand is what a NaN leaves
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  // ln 2 in two parts: the first has so few bits that its product with n is exact.
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e4p-1f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.7f7d1cp-20f), r);
  __m512 p = _mm512_set1_ps(1.0f / 5040);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  return _mm512_maskz_mov_ps(remains, _mm512_scalef_ps(p, n));
}

}  // namespace sluice::kernels::avx512
