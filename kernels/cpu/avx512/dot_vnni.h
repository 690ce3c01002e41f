// The products of VNNI on eight rows side by side, which files for it take. Static, as everything that such files share.
#pragma once

#include "kernels/cpu/avx2/panel.h"
#include "kernels/cpu/avx512/steps.h"

namespace sluice::kernels::avx512_vnni {

// In assembly, because gcc 12 neither broadcasts inside of the instruction nor leaves a sum in its register between the rounds
// of a loop. Where the machine is simulated (tests/simde) the intrinsics do the same.
#ifdef __AVX512VNNI__
using FourBytes = const char[4];

// sum += codes (unsigned) times four bytes from p on, each four of them.
SLUICE_AVX512_STEP void add_dot(__m256i& sum, __m256i codes, const void* p) {
  asm("vpdpbusd %2%{1to8%}, %1, %0" : "+v"(sum) : "v"(codes), "m"(*static_cast<FourBytes*>(p)));
}
// sum += pairs of 16-bit numbers times such pairs, or times the one pair from p on.
SLUICE_AVX512_STEP void add_pairs(__m256i& sum, __m256i a, __m256i b) {
  asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
}
SLUICE_AVX512_STEP void add_pairs(__m256i& sum, __m256i a, const void* p) {
  asm("vpdpwssd %2%{1to8%}, %1, %0" : "+v"(sum) : "v"(a), "m"(*static_cast<FourBytes*>(p)));
}
#else
SLUICE_AVX512_STEP void add_dot(__m256i& sum, __m256i codes, const void* p) {
  sum = _mm256_dpbusd_epi32(sum, codes, avx2::broadcast_four_bytes(p));
}
SLUICE_AVX512_STEP void add_pairs(__m256i& sum, __m256i a, __m256i b) {
  sum = _mm256_dpwssd_epi32(sum, a, b);
}
SLUICE_AVX512_STEP void add_pairs(__m256i& sum, __m256i a, const void* p) {
  sum = _mm256_dpwssd_epi32(sum, a, avx2::broadcast_four_bytes(p));
}
#endif

// 32 bytes in a register: gcc would rather read memory again each time.
SLUICE_AVX512_STEP __m256i load_once(const std::byte* p) {
  __m256i loaded = avx2::load_bytes(p);
  asm volatile("" : "+v"(loaded));
  return loaded;
}

}  // namespace sluice::kernels::avx512_vnni
