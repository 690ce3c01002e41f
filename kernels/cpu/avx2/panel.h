// Steps on panels of weights (kernels/cpu/weight_panels.h).
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/avx2/integer_dot.h"
#include "kernels/cpu/weight_panels.h"

namespace sluice::kernels::avx2 {

constexpr int kGroups = kPanelRows / kRowGroup;  // of eight rows in a panel

// Eight rows of one step of a panel: its first (eight = 0) or second half.
SLUICE_AVX2_STEP __m256i load_group(const void* step, int eight) {
  return _mm256_load_si256(static_cast<const __m256i*>(step) + eight);
}
SLUICE_AVX2_STEP void store_group(void* step, int eight, __m256i values) {
  _mm256_store_si256(static_cast<__m256i*>(step) + eight, values);
}

// to[k * kPanelRows + r] = from[r][k] for 32-bit numbers: eight rows of eight. `from` is from_stride bytes from row to row.
SLUICE_AVX2_STEP void transpose_8x8(const void* from, int64_t from_stride, void* to) {
  const auto* bytes = static_cast<const std::byte*>(from);
  __m256i row[8], pair[8], four[8];
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r) row[r] = load_bytes(bytes + r * from_stride);
#pragma GCC unroll 4
  for (int r = 0; r < 8; r += 2) {
    pair[r] = _mm256_unpacklo_epi32(row[r], row[r + 1]);
    pair[r + 1] = _mm256_unpackhi_epi32(row[r], row[r + 1]);
  }
#pragma GCC unroll 2
  for (int r = 0; r < 8; r += 4) {
    four[r] = _mm256_unpacklo_epi64(pair[r], pair[r + 2]);
    four[r + 1] = _mm256_unpackhi_epi64(pair[r], pair[r + 2]);
    four[r + 2] = _mm256_unpacklo_epi64(pair[r + 1], pair[r + 3]);
    four[r + 3] = _mm256_unpackhi_epi64(pair[r + 1], pair[r + 3]);
  }
  auto* out = static_cast<std::byte*>(to);
  constexpr int64_t kStep = kPanelRows * 4;
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + k * kStep),
                       _mm256_permute2x128_si256(four[k], four[k + 4], 0x20));
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + (k + 4) * kStep),
                       _mm256_permute2x128_si256(four[k], four[k + 4], 0x31));
  }
}

// For the loops over a panel, which use all registers: inlined into what surrounds them they would share these with it.
#define SLUICE_AVX2_LOOP static __attribute__((noinline))

// Nothing, but the compiler must have the value in a register here. Without it gcc first makes all products of an unrolled
// loop and adds them afterwards, which takes far more registers than there are.
SLUICE_AVX2_STEP void keep_in_register(__m256i& v) {
  asm volatile("" : "+x"(v));
}

// sum += x where the sum stands: gcc's own addition moves the sum about between the rounds of a loop that it keeps rolled.
SLUICE_AVX2_STEP void add_16_bits(__m256i& sum, __m256i x) {
  asm("vpaddw %1, %0, %0" : "+x"(sum) : "x"(x));
}
SLUICE_AVX2_STEP void add_32_bits(__m256i& sum, __m256i x) {
  asm("vpaddd %1, %0, %0" : "+x"(sum) : "x"(x));
}

SLUICE_AVX2_STEP __m256i broadcast_four_bytes(const void* p) {
  return _mm256_set1_epi32(static_cast<int>(load_u32(p)));
}

}  // namespace sluice::kernels::avx2
