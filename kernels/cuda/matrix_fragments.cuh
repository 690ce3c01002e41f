// Matrix operations of a warp on tensor cores on 8-bit whole numbers, in the shapes of sm_80; on sm_75 the same of smaller ones. What loads
// them, and the operation on 16-bit floats, is that of fragments.cuh.
//
// Fragments, with lane = 4 * group + member (PTX ISA, "Matrix Fragments"), of 8-bit elements and k = 32:
//
//   a   rows group and group + 8: a[0], a[1] columns 4 * member to 4 * member + 3, a[2], a[3] the columns 16 further
//   b   column group: b0 rows 4 * member to 4 * member + 3, b1 the rows 16 further
//   d   rows group (d[0], d[1]) and group + 8 (d[2], d[3]), columns 2 * member and 2 * member + 1
//
// The halves of k are such fragments of k = 16 themselves: a[0], a[1], b0 and a[2], a[3], b1.
#pragma once

#include <cstdint>

#include "kernels/cuda/fragments.cuh"

namespace sluice::kernels::cuda {

#if __CUDA_ARCH__ < 800
__device__ inline void multiply_8x8x16(int& d0, int& d1, uint32_t a, uint32_t b) {
  asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
               : "+r"(d0), "+r"(d1)
               : "r"(a), "r"(b));
}
#endif

// d += a b, of signed bytes; whole numbers, exact.
__device__ inline void multiply_16x8x16(int (&d)[4], uint32_t a0, uint32_t a1, uint32_t b) {
#if __CUDA_ARCH__ >= 800
  asm volatile("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
               : "r"(a0), "r"(a1), "r"(b));
#else
  multiply_8x8x16(d[0], d[1], a0, b);
  multiply_8x8x16(d[2], d[3], a1, b);
#endif
}
__device__ inline void multiply_16x8x32(int (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  multiply_16x8x16(d, a[0], a[1], b0);
  multiply_16x8x16(d, a[2], a[3], b1);
#endif
}

}  // namespace sluice::kernels::cuda
