// What tiles (gemm.cuh) bring to shared memory in the background.
#pragma once

#include "kernels/cuda/gemm_arguments.h"
#include "kernels/cuda/gemm_layout.cuh"
#include "kernels/cuda/gemm_tile.cuh"
#include "kernels/cuda/gemv.cuh"

namespace sluice::kernels::cuda {

// kBytes (4 or 16, at multiples of themselves) in the background, or zeros. `from` is not read where nothing is there.
template <int kBytes>
__device__ inline void copy_or_zeros(std::byte* shared, const void* from, bool is_there) {
  static_assert(kBytes == 4 || kBytes == 16);
#if __CUDA_ARCH__ >= 800
  const uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const int n_bytes = is_there ? kBytes : 0;
  if constexpr (kBytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(n_bytes) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(n_bytes) : "memory");
#else
  if constexpr (kBytes == 16)
    *reinterpret_cast<uint4*>(shared) = is_there ? *static_cast<const uint4*>(from) : uint4{};
  else
    *reinterpret_cast<uint32_t*>(shared) = is_there ? *static_cast<const uint32_t*>(from) : 0;
#endif
}

// Where 16-byte piece `piece` of a row of 64 bytes lies: eight neighbouring rows' pieces lie in different banks.
__device__ inline int piece_at(int row, int piece) {
  return row * kGemmStep + ((piece ^ (row >> 1 & 3)) << 4);
}

// The bytes of a raw step of all rows of a tile, in the background. Four threads take a row.
__device__ inline void copy_raw(const GemmArguments& a, const GemmRows& rows, int step, std::byte* shared) {
  const int64_t first_byte = int64_t{step} * a.raw_bytes;
  const int n_bytes = static_cast<int>(min(int64_t{a.raw_bytes}, a.row_bytes - first_byte));
  const bool is_aligned = a.block_bytes % 16 == 0;
#pragma unroll 1
  for (int row = threadIdx.x / 4; row < kGemmRows; row += blockDim.x / 4) {
    const int output = rows.output(row);
    if (output >= a.end_output) continue;
    const std::byte* const matrix = rows.matrix_of(row);
    const std::byte* const begin = matrix + output * a.row_bytes + first_byte;
    std::byte* const to = shared + row * a.raw_pitch;
    const int head = bytes_behind_16(begin), member = threadIdx.x % 4;
    if (is_aligned && head != 0) {
#pragma unroll 1
      for (int at = member * 2; at < n_bytes; at += 8)
        *reinterpret_cast<uint16_t*>(to + at) = *reinterpret_cast<const uint16_t*>(begin + at);
      continue;
    }
    const std::byte* const end = matrix + a.n_outputs * a.row_bytes;
#pragma unroll 1
    for (int at = member * 16; at < head + n_bytes; at += 64) {
      const std::byte* const from = begin - head + at;
      if (from >= matrix && from + 16 <= end) {
        copy_16(to + at, from);
      } else {  // only what is ours
#pragma unroll 1
        for (int i = 0; i < 16; ++i) to[at + i] = from + i >= matrix && from + i < end ? from[i] : std::byte{0};
      }
    }
  }
}

}  // namespace sluice::kernels::cuda
