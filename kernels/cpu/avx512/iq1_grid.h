// The grid of IQ1_S and IQ1_M, sixteen entries at a time: a lane is an entry, in which codes are two bits each, column i of the
// eight at bits 0 and 1 of byte i, column 4 + i at bits 2 and 3. 32 loads for the 256 weights of a block bind these products
// on most processors.
#pragma once

#include "kernels/cpu/avx512/eight_rows.h"
#include "kernels/cpu/iq_tables.h"

namespace sluice::kernels::avx512 {

// An input's block in the order of the lanes, for 128 columns each: the first and the second four columns of an entry.
struct InputOfEntries {
  __m512i first[2], second[2];
};
SLUICE_AVX512_STEP InputOfEntries prepare_entries(const reference::Activation256& x) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  InputOfEntries input;
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    const __m512i low = load_512(x.q + 128 * half), high = load_512(x.q + 128 * half + 64);
    input.first[half] = _mm512_permutex2var_epi32(low, even, high);
    input.second[half] = _mm512_permutex2var_epi32(low, odd, high);
  }
  return input;
}

// table[index] for sixteen indices. In assembly, because gcc 12 lets a gather start from an undefined register, and so wait
// for what was there, and because Bochs 2.7, which tests this code, refuses indices in one of the upper registers ("x").
using Iq1Table = const uint32_t[2048];
SLUICE_AVX512_STEP __m512i gather(const uint32_t* table, __m512i indices) {
#ifdef __AVX512F__
  __m512i found = _mm512_setzero_si512();
  __mmask16 all = 0xFFFF;
  asm("vpgatherdd (%3,%2,4), %0%{%1%}"
      : "+&v"(found), "+Yk"(all)
      : "x"(indices), "r"(table), "m"(*reinterpret_cast<Iq1Table*>(table)));
  return found;
#else
  return _mm512_i32gather_epi32(indices, table, 4);
#endif
}

}  // namespace sluice::kernels::avx512
