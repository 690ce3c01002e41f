// Norms, rotation, gates and sums of rows, for AVX-512.
#if defined(__x86_64__)
#include "kernels/cpu/avx512/row_operations.h"

#include "kernels/cpu/avx512/exponential.h"
#include "kernels/cpu/avx512/steps.h"

namespace sluice::kernels {
namespace avx512 {
namespace {

// The first n of eight lanes, n >= 0: all of them from 8 on.
SLUICE_AVX512_STEP __mmask8 first_of_eight(int64_t n) {
  return static_cast<__mmask8>(first_lanes(n));
}

// x / (1 + e) for x >= 0 and x e / (1 + e) below, with e = exp(-|x|), which cannot overflow.
SLUICE_AVX512_STEP __m512 silu(__m512 x) {
  const __m512 e = exponential(_mm512_or_ps(x, _mm512_set1_ps(-0.0f)));
  const __mmask16 is_negative = _mm512_movepi32_mask(_mm512_castps_si512(x));
  return _mm512_div_ps(_mm512_mask_mul_ps(x, is_negative, x, e), _mm512_add_ps(_mm512_set1_ps(1), e));
}

// exp of eight doubles: 2^n exp(r) with |r| <= ln 2 / 2, by 13 terms of the series; within some 1e-15. For |x| <= 700.
SLUICE_AVX512_STEP __m512d exponential_double(__m512d x) {
  const __m512d n = _mm512_roundscale_pd(_mm512_mul_pd(x, _mm512_set1_pd(1.4426950408889634)), kToNearest);
  __m512d r = _mm512_fnmadd_pd(n, _mm512_set1_pd(0x1.62e42fee00000p-1), x);
  r = _mm512_fnmadd_pd(n, _mm512_set1_pd(0x1.a39ef35793c76p-33), r);
  static const double kInverseFactorials[] = {
      1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
      1.0 / 720,        1.0 / 120,       1.0 / 24,       1.0 / 6,       0.5,          1.0,         1.0};
  __m512d p = _mm512_set1_pd(kInverseFactorials[0]);
  for (int i = 1; i < 14; ++i) p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(kInverseFactorials[i]));
  return _mm512_scalef_pd(p, n);
}

SLUICE_AVX512_STEP __m256 sigmoid_8(__m256 x) {
  const __m512d limit = _mm512_set1_pd(700);
  __m512d negative = _mm512_sub_pd(_mm512_setzero_pd(), _mm512_cvtps_pd(x));
  // The second operand is what a NaN leaves.
  negative = _mm512_min_pd(limit, _mm512_max_pd(_mm512_sub_pd(_mm512_setzero_pd(), limit), negative));
  const __m512d one = _mm512_set1_pd(1);
  return _mm512_cvtpd_ps(_mm512_div_pd(one, _mm512_add_pd(one, exponential_double(negative))));
}

SLUICE_AVX512_STEP float largest_of(const float* x, int64_t n) {
  const __m512 nothing = _mm512_set1_ps(-__builtin_inff());
  __m512 largest = nothing;
  for (int64_t i = 0; i < n; i += 16)  // the second operand is what a NaN leaves
    largest = _mm512_max_ps(_mm512_mask_loadu_ps(nothing, first_lanes(n - i), x + i), largest);
  return _mm512_reduce_max_ps(largest);
}

}  // namespace

void rms_norm(const float* x, const float* weights, int64_t n, float epsilon, float* out) {
  __m512d sums[4] = {_mm512_setzero_pd(), _mm512_setzero_pd(), _mm512_setzero_pd(), _mm512_setzero_pd()};
  int64_t i = 0;
  for (; i + 32 <= n; i += 32)
    for (int k = 0; k < 4; ++k) {
      const __m512d values = _mm512_cvtps_pd(_mm256_loadu_ps(x + i + 8 * k));
      sums[k] = _mm512_fmadd_pd(values, values, sums[k]);
    }
  for (; i < n; i += 8) {
    const __m512d values = _mm512_cvtps_pd(_mm256_maskz_loadu_ps(first_of_eight(n - i), x + i));
    sums[0] = _mm512_fmadd_pd(values, values, sums[0]);
  }
  const double sum =
      _mm512_reduce_add_pd(_mm512_add_pd(_mm512_add_pd(sums[0], sums[1]), _mm512_add_pd(sums[2], sums[3])));
  const double mean = sum / static_cast<double>(n) + static_cast<double>(epsilon);
  const float factor = static_cast<float>(1 / _mm_cvtsd_f64(_mm_sqrt_sd(_mm_setzero_pd(), _mm_set_sd(mean))));
  const __m512 factors = _mm512_set1_ps(factor);
  for_each_sixteen(n, [&](int64_t at, __mmask16 here) {
    const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(here, x + at), factors);
    _mm512_mask_storeu_ps(out + at, here, _mm512_mul_ps(scaled, _mm512_maskz_loadu_ps(here, weights + at)));
  });
}

void rope(float* head, int64_t n_pairs, bool interleaved, const float* cosines, const float* sines) {
  if (interleaved) {
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    const auto turn = [&](int64_t i, __mmask8 pairs, __mmask16 here) {
      const __m512 x = _mm512_maskz_loadu_ps(here, head + 2 * i);  // a0 b0 a1 b1 ...
      const __m512 cosine =
          _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(_mm256_maskz_loadu_ps(pairs, cosines + i)));
      const __m512 sine = _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(_mm256_maskz_loadu_ps(pairs, sines + i)));
      const __m512 by_cosine = _mm512_mul_ps(x, cosine);
      const __m512 by_sine = _mm512_mul_ps(_mm512_permute_ps(x, _MM_SHUFFLE(2, 3, 0, 1)), sine);  // b0 a0 b1 a1 ...
      // a c - b s, b c + a s
      const __m512 turned = _mm512_mask_sub_ps(_mm512_add_ps(by_cosine, by_sine), 0x5555, by_cosine, by_sine);
      _mm512_mask_storeu_ps(head + 2 * i, here, turned);
    };
    int64_t i = 0;
    for (; i + 8 <= n_pairs; i += 8) turn(i, 0xFF, 0xFFFF);
    if (i < n_pairs) turn(i, first_of_eight(n_pairs - i), first_lanes(2 * (n_pairs - i)));
    return;
  }
  for_each_sixteen(n_pairs, [&](int64_t i, __mmask16 here) {
    const __m512 a = _mm512_maskz_loadu_ps(here, head + i), b = _mm512_maskz_loadu_ps(here, head + n_pairs + i);
    const __m512 cosine = _mm512_maskz_loadu_ps(here, cosines + i), sine = _mm512_maskz_loadu_ps(here, sines + i);
    _mm512_mask_storeu_ps(head + i, here, _mm512_sub_ps(_mm512_mul_ps(a, cosine), _mm512_mul_ps(b, sine)));
    _mm512_mask_storeu_ps(head + n_pairs + i, here, _mm512_add_ps(_mm512_mul_ps(a, sine), _mm512_mul_ps(b, cosine)));
  });
}

void swiglu(float* gate, const float* up, int64_t n) {
  for_each_sixteen(n, [&](int64_t i, __mmask16 here) {
    const __m512 gated = silu(_mm512_maskz_loadu_ps(here, gate + i));
    _mm512_mask_storeu_ps(gate + i, here, _mm512_mul_ps(gated, _mm512_maskz_loadu_ps(here, up + i)));
  });
}

void add(const float* x, float* y, int64_t n) {
  for_each_sixteen(n, [&](int64_t i, __mmask16 here) {
    const __m512 sum = _mm512_add_ps(_mm512_maskz_loadu_ps(here, y + i), _mm512_maskz_loadu_ps(here, x + i));
    _mm512_mask_storeu_ps(y + i, here, sum);
  });
}

void weighted_sum(const float* const* rows, const float* weights, int64_t n_rows, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    __m512 sums[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    for (int64_t k = 0; k < n_rows; ++k) {
      const __m512 weight = _mm512_set1_ps(weights[k]);
      for (int v = 0; v < 4; ++v)
        sums[v] = _mm512_add_ps(sums[v], _mm512_mul_ps(weight, _mm512_loadu_ps(rows[k] + i + 16 * v)));
    }
    for (int v = 0; v < 4; ++v) _mm512_storeu_ps(out + i + 16 * v, sums[v]);
  }
  for (; i < n; i += 16) {
    const __mmask16 here = first_lanes(n - i);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t k = 0; k < n_rows; ++k)
      sum = _mm512_add_ps(sum, _mm512_mul_ps(_mm512_set1_ps(weights[k]), _mm512_maskz_loadu_ps(here, rows[k] + i)));
    _mm512_mask_storeu_ps(out + i, here, sum);
  }
}

void sigmoid(const float* x, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += 8) {
    const __mmask8 here = first_of_eight(n - i);
    _mm256_mask_storeu_ps(out + i, here, sigmoid_8(_mm256_maskz_loadu_ps(here, x + i)));
  }
}

void softmax(const float* x, int64_t n, float* out) {
  if (n == 0) return;
  const float largest = largest_of(x, n);
  if (largest == -__builtin_inff()) {
    std::memset(out, 0, static_cast<size_t>(n) * sizeof(float));
    return;
  }
  const __m512d maximum = _mm512_set1_pd(static_cast<double>(largest));
  const __m256 nothing = _mm256_set1_ps(-__builtin_inff());
  const auto term = [&](int64_t i) __attribute__((always_inline)) {
    const __m256 values = _mm256_mask_loadu_ps(nothing, first_of_eight(n - i), x + i);
    const __m512d below = _mm512_sub_pd(_mm512_cvtps_pd(values), maximum);
    return exponential_double(_mm512_max_pd(_mm512_set1_pd(-700), below));
  };
  __m512d sums = _mm512_setzero_pd();
  for (int64_t i = 0; i < n; i += 8) sums = _mm512_add_pd(sums, term(i));
  const __m512d sum = _mm512_set1_pd(_mm512_reduce_add_pd(sums));
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 share = _mm512_cvtpd_ps(_mm512_div_pd(term(i), sum));
    _mm256_mask_storeu_ps(out + i, first_of_eight(n - i), share);
  }
}

}  // namespace avx512

const RowOperations kRowOperationsAvx512 = {avx512::store_cache_row, avx512::load_cache_row,
                                            avx512::quantize_per32,  avx512::quantize_per256,
                                            avx512::rms_norm,        avx512::rope,
                                            avx512::swiglu,          avx512::add,
                                            avx512::weighted_sum,    avx512::add_weighted_rows,
                                            avx512::sigmoid,         avx512::softmax};

}  // namespace sluice::kernels
#endif
