// Norms, rotation, gates and sums of rows, for AVX2 with FMA.
#if defined(__x86_64__)
#include "kernels/cpu/avx2/row_operations.h"

#include "kernels/cpu/avx2/exponential.h"
#include "kernels/cpu/avx2/steps.h"

namespace sluice::kernels {
namespace avx2 {
namespace {

SLUICE_AVX2_STEP double sum_lanes(__m256d x) {
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

// Calls whole(position) for every eight values, and rest(position, mask of the lanes that are left) for the last.
template <class Whole, class Rest>
SLUICE_AVX2_STEP void for_each_eight(int64_t n, const Whole& whole, const Rest& rest) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) whole(i);
  if (i < n) rest(i, first_lanes(n - i));
}

// x / (1 + e) for x >= 0 and x e / (1 + e) below, with e = exp(-|x|), which cannot overflow.
SLUICE_AVX2_STEP __m256 silu(__m256 x) {
  const __m256 e = exponential(_mm256_or_ps(x, _mm256_set1_ps(-0.0f)));
  const __m256 numerator = _mm256_blendv_ps(x, _mm256_mul_ps(x, e), x);  // by the sign of x
  return _mm256_div_ps(numerator, _mm256_add_ps(_mm256_set1_ps(1), e));
}

// exp of four doubles: 2^n exp(r) with |r| <= ln 2 / 2, by 13 terms of the series; within some 1e-15. For |x| <= 700.
SLUICE_AVX2_STEP __m256d exponential_double(__m256d x) {
  const __m256d n = _mm256_round_pd(_mm256_mul_pd(x, _mm256_set1_pd(1.4426950408889634)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256d r = _mm256_fnmadd_pd(n, _mm256_set1_pd(0x1.62e42fee00000p-1), x);
  r = _mm256_fnmadd_pd(n, _mm256_set1_pd(0x1.a39ef35793c76p-33), r);
  static const double kInverseFactorials[] = {
      1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
      1.0 / 720,        1.0 / 120,       1.0 / 24,       1.0 / 6,       0.5,          1.0,         1.0};
  __m256d p = _mm256_set1_pd(kInverseFactorials[0]);
  for (int i = 1; i < 14; ++i) p = _mm256_fmadd_pd(p, r, _mm256_set1_pd(kInverseFactorials[i]));
  const __m256i exponent = _mm256_add_epi64(_mm256_cvtepi32_epi64(_mm256_cvtpd_epi32(n)), _mm256_set1_epi64x(1023));
  return _mm256_mul_pd(p, _mm256_castsi256_pd(_mm256_slli_epi64(exponent, 52)));
}

SLUICE_AVX2_STEP __m128 sigmoid_4(__m128 x) {
  const __m256d limit = _mm256_set1_pd(700);
  __m256d negative = _mm256_sub_pd(_mm256_setzero_pd(), _mm256_cvtps_pd(x));
  // The second operand is what a NaN leaves.
  negative = _mm256_min_pd(limit, _mm256_max_pd(_mm256_sub_pd(_mm256_setzero_pd(), limit), negative));
  const __m256d one = _mm256_set1_pd(1);
  return _mm256_cvtpd_ps(_mm256_div_pd(one, _mm256_add_pd(one, exponential_double(negative))));
}

}  // namespace

void rms_norm(const float* x, const float* weights, int64_t n, float epsilon, float* out) {
  __m256d sums[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int k = 0; k < 4; ++k) {
      const __m256d values = _mm256_cvtps_pd(_mm_loadu_ps(x + i + 4 * k));
      sums[k] = _mm256_fmadd_pd(values, values, sums[k]);
    }
  double sum = sum_lanes(_mm256_add_pd(_mm256_add_pd(sums[0], sums[1]), _mm256_add_pd(sums[2], sums[3])));
  for (; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  const double mean = sum / static_cast<double>(n) + static_cast<double>(epsilon);
  const float factor = static_cast<float>(1 / _mm_cvtsd_f64(_mm_sqrt_sd(_mm_setzero_pd(), _mm_set_sd(mean))));
  const __m256 factors = _mm256_set1_ps(factor);
  for_each_eight(
      n,
      [&](int64_t at) {
        const __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(x + at), factors);
        _mm256_storeu_ps(out + at, _mm256_mul_ps(scaled, _mm256_loadu_ps(weights + at)));
      },
      [&](int64_t at, __m256i mask) {
        const __m256 scaled = _mm256_mul_ps(_mm256_maskload_ps(x + at, mask), factors);
        _mm256_maskstore_ps(out + at, mask, _mm256_mul_ps(scaled, _mm256_maskload_ps(weights + at, mask)));
      });
}

void rope(float* head, int64_t n_pairs, bool interleaved, const float* cosines, const float* sines) {
  int64_t i = 0;
  if (interleaved) {
    for (; i + 4 <= n_pairs; i += 4) {
      const __m256 x = _mm256_loadu_ps(head + 2 * i);  // a0 b0 a1 b1 ...
      const __m256 cosine = _mm256_castsi256_ps(_mm256_cvtepu32_epi64(_mm_castps_si128(_mm_loadu_ps(cosines + i))));
      const __m256 sine = _mm256_castsi256_ps(_mm256_cvtepu32_epi64(_mm_castps_si128(_mm_loadu_ps(sines + i))));
      const __m256 swapped = _mm256_permute_ps(x, _MM_SHUFFLE(2, 3, 0, 1));  // b0 a0 b1 a1 ...
      const __m256 by_cosine = _mm256_mul_ps(x, _mm256_moveldup_ps(cosine));
      const __m256 by_sine = _mm256_mul_ps(swapped, _mm256_moveldup_ps(sine));
      _mm256_storeu_ps(head + 2 * i, _mm256_addsub_ps(by_cosine, by_sine));  // a c - b s, b c + a s
    }
  } else {
    for (; i + 8 <= n_pairs; i += 8) {
      const __m256 a = _mm256_loadu_ps(head + i), b = _mm256_loadu_ps(head + n_pairs + i);
      const __m256 cosine = _mm256_loadu_ps(cosines + i), sine = _mm256_loadu_ps(sines + i);
      _mm256_storeu_ps(head + i, _mm256_sub_ps(_mm256_mul_ps(a, cosine), _mm256_mul_ps(b, sine)));
      _mm256_storeu_ps(head + n_pairs + i, _mm256_add_ps(_mm256_mul_ps(a, sine), _mm256_mul_ps(b, cosine)));
    }
  }
  const int64_t step = interleaved ? 2 : 1, partner = interleaved ? 1 : n_pairs;
  for (; i < n_pairs; ++i) {
    const float a = head[i * step], b = head[i * step + partner];
    head[i * step] = a * cosines[i] - b * sines[i];
    head[i * step + partner] = a * sines[i] + b * cosines[i];
  }
}

void swiglu(float* gate, const float* up, int64_t n) {
  for_each_eight(
      n,
      [&](int64_t i) {
        const __m256 gated = silu(_mm256_loadu_ps(gate + i));
        _mm256_storeu_ps(gate + i, _mm256_mul_ps(gated, _mm256_loadu_ps(up + i)));
      },
      [&](int64_t i, __m256i mask) {
        const __m256 gated = silu(_mm256_maskload_ps(gate + i, mask));
        _mm256_maskstore_ps(gate + i, mask, _mm256_mul_ps(gated, _mm256_maskload_ps(up + i, mask)));
      });
}

void add(const float* x, float* y, int64_t n) {
  for_each_eight(
      n, [&](int64_t i) { _mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_loadu_ps(y + i), _mm256_loadu_ps(x + i))); },
      [&](int64_t i, __m256i mask) {
        _mm256_maskstore_ps(y + i, mask,
                            _mm256_add_ps(_mm256_maskload_ps(y + i, mask), _mm256_maskload_ps(x + i, mask)));
      });
}

void weighted_sum(const float* const* rows, const float* weights, int64_t n_rows, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int64_t k = 0; k < n_rows; ++k) {
      const __m256 weight = _mm256_set1_ps(weights[k]);
      for (int v = 0; v < 4; ++v)
        sums[v] = _mm256_add_ps(sums[v], _mm256_mul_ps(weight, _mm256_loadu_ps(rows[k] + i + 8 * v)));
    }
    for (int v = 0; v < 4; ++v) _mm256_storeu_ps(out + i + 8 * v, sums[v]);
  }
  for (; i < n; ++i) {
    float sum = 0;
    for (int64_t k = 0; k < n_rows; ++k) sum += weights[k] * rows[k][i];
    out[i] = sum;
  }
}

void sigmoid(const float* x, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) _mm_storeu_ps(out + i, sigmoid_4(_mm_loadu_ps(x + i)));
  if (i == n) return;
  float rest[4] = {};
  std::memcpy(rest, x + i, static_cast<size_t>(n - i) * sizeof(float));
  _mm_storeu_ps(rest, sigmoid_4(_mm_loadu_ps(rest)));
  std::memcpy(out + i, rest, static_cast<size_t>(n - i) * sizeof(float));
}

void softmax(const float* x, int64_t n, float* out) {
  if (n == 0) return;
  float largest = x[0];
  for (int64_t i = 1; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  if (largest == -__builtin_inff()) {
    std::memset(out, 0, static_cast<size_t>(n) * sizeof(float));
    return;
  }
  const __m256d maximum = _mm256_set1_pd(static_cast<double>(largest));
  const auto term = [&](__m128 values) __attribute__((always_inline)) {
    const __m256d below = _mm256_sub_pd(_mm256_cvtps_pd(values), maximum);
    return exponential_double(_mm256_max_pd(_mm256_set1_pd(-700), below));
  };
  float rest[4] = {-__builtin_inff(), -__builtin_inff(), -__builtin_inff(), -__builtin_inff()};
  const int64_t n_whole = n / 4 * 4;
  std::memcpy(rest, x + n_whole, static_cast<size_t>(n - n_whole) * sizeof(float));
  __m256d sums = n_whole < n ? term(_mm_loadu_ps(rest)) : _mm256_setzero_pd();
  for (int64_t i = 0; i < n_whole; i += 4) sums = _mm256_add_pd(sums, term(_mm_loadu_ps(x + i)));
  const __m256d sum = _mm256_set1_pd(sum_lanes(sums));
  for (int64_t i = 0; i < n_whole; i += 4)
    _mm_storeu_ps(out + i, _mm256_cvtpd_ps(_mm256_div_pd(term(_mm_loadu_ps(x + i)), sum)));
  if (n_whole == n) return;
  _mm_storeu_ps(rest, _mm256_cvtpd_ps(_mm256_div_pd(term(_mm_loadu_ps(rest)), sum)));
  std::memcpy(out + n_whole, rest, static_cast<size_t>(n - n_whole) * sizeof(float));
}

}  // namespace avx2

const RowOperations kRowOperationsAvx2 = {avx2::store_cache_row, avx2::load_cache_row,
                                          avx2::quantize_per32,  avx2::quantize_per256,
                                          avx2::rms_norm,        avx2::rope,
                                          avx2::swiglu,          avx2::add,
                                          avx2::weighted_sum,    avx2::add_weighted_rows,
                                          avx2::sigmoid,         avx2::softmax};

}  // namespace sluice::kernels
#endif
