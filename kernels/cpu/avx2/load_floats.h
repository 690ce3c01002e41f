// Eight floats of a row in any of the formats of floats. Static, as everything that files for AVX2 share.
#pragma once

#include "kernels/cpu/avx2/steps.h"

namespace sluice::kernels::avx2 {

struct LoadF32 {
  static constexpr int64_t kBytes = 4;
  SLUICE_AVX2_STEP __m256 eight(const std::byte* p) { return _mm256_loadu_ps(reinterpret_cast<const float*>(p)); }
};
struct LoadF16 {
  static constexpr int64_t kBytes = 2;
  SLUICE_AVX2_STEP __m256 eight(const std::byte* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
};
struct LoadBF16 {
  static constexpr int64_t kBytes = 2;
  SLUICE_AVX2_STEP __m256 eight(const std::byte* p) {
    return widen_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
};

}  // namespace sluice::kernels::avx2
