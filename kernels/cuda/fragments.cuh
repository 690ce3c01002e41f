// Tiles of 16-bit floats in shared memory, and the fragments of them that a warp's matrix instructions take.
//
// A tile's rows are a multiple of 64 values long. The 16-byte pieces of a row lie in another order in each of eight rows
// (swizzled_piece), so that the eight rows that one ldmatrix reads at the same column lie in different banks.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

namespace sluice::kernels::cuda {

constexpr int kPieceValues = 8;  // of 16 bits, in 16 bytes

// Where a piece lies in its row, in values.
__device__ inline int swizzled_piece(int row, int piece) {
  return (piece ^ (row & 7)) * kPieceValues;
}

__device__ inline uint32_t shared_address(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// Finds the pieces of one row for a lane, in few instructions. The tile begins at a multiple of 128 bytes.
class RowPieces {
 public:
  // Piece 0 stands for `first`, below 8.
  __device__ RowPieces(const __half* tile, int n_columns, int row, int first)
      : address_(shared_address(tile) + row * n_columns * 2 + (first ^ (row & 7)) * 16) {}
  // Of the row that lies n_bytes behind, a multiple of eight rows. `piece` is known to the compiler, and has no bit of below 8 in common
  // with `first`.
  __device__ uint32_t at(int piece, int n_bytes) const {
    return (address_ ^ (piece % 8 * 16)) + piece / 8 * 128 + n_bytes;
  }

 private:
  uint32_t address_;
};

// Four matrices of 8 x 8, the rows' addresses given by lanes 0-7, 8-15, 16-23 and 24-31. Lane l has of each the values 2 (l % 4) and
// the next of row l / 4; transposed, of column l / 4.
__device__ inline void load_matrices(uint32_t (&to)[4], uint32_t row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row_address)
               : "memory");
}
__device__ inline void load_matrices_transposed(uint32_t (&to)[4], uint32_t row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row_address)
               : "memory");
}

// sums [16 x 8] += a [16 x 16] b [16 x 8]. Lane l has the sums of row l / 4 and columns 2 (l % 4) and the next, then those of row
// l / 4 + 8.
__device__ inline void multiply_add_16x8x16(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(b0));
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}

// The same of bfloat16, from sm_80 on.
__device__ inline void multiply_add_bf16_16x8x16(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

// Two floats as 16-bit floats in a word, the first in its low half.
__device__ inline uint32_t f16_pair(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

}  // namespace sluice::kernels::cuda
