// Codes of 4 bits that are indices into a table of 16 signed bytes, looked up four at a time in registers.
#pragma once

#include <cstdint>

namespace sluice::kernels::cuda {

// Bytes 0 to 15 of a table, lowest first.
struct Table16 {
  uint32_t words[4];
};

// The four bytes that the lowest four nibbles of x name.
__device__ inline uint32_t look_up_16(const Table16& table, uint32_t x) {
  const uint32_t low_bits =
      x & 0x7777u;  // __byte_perm takes 3 bits of an index; the fourth chooses between the two halves
  const uint32_t low = __byte_perm(table.words[0], table.words[1], low_bits);
  const uint32_t high = __byte_perm(table.words[2], table.words[3], low_bits);
  return __byte_perm(low, high, 0x3210u | (x & 0x8888u) >> 1);
}

// The values of a word's low nibbles and of its high ones.
__device__ inline void look_up_nibbles(const Table16& table, uint32_t packed, uint32_t& low, uint32_t& high) {
  const uint32_t first = look_up_16(table, packed), second = look_up_16(table, packed >> 16);
  low = __byte_perm(first, second, 0x6420);
  high = __byte_perm(first, second, 0x7531);
}

// -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113, of IQ4_NL and IQ4_XS.
__device__ inline Table16 iq4_table() {
  return {{0xBFAD9881u, 0xF6EADDCFu, 0x26190D01u, 0x71594535u}};
}

// Twice 0 0.5 1 1.5 2 3 4 6 and then the same below zero, of MXFP4 and NVFP4.
__device__ inline Table16 fp4_table() {
  return {{0x03020100u, 0x0C080604u, 0xFDFEFF00u, 0xF4F8FAFCu}};
}

}  // namespace sluice::kernels::cuda
