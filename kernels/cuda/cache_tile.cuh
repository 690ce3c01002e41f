// Rows of a cache, put into a tile of 16-bit floats in shared memory (fragments.cuh) by all threads of a block.
//
// F16 rows that lie at multiples of 16 bytes are copied as they are, in the background where the GPU can (sm_80 on): the data is there
// after finish_cache_tiles() and a barrier. Blocks of Q8_0 whose tiles lie so are copied like that too, but into a place of their own, and
// put into the tile from there; products of scale and code are rounded to 16 bits once. All others pass through registers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cache_type.h"
#include "kernels/cuda/bytes.cuh"
#include "kernels/cuda/fragments.cuh"

namespace sluice::kernels::cuda {

enum class CacheCopy : uint32_t {
  Pieces,  // F16, everything at a multiple of 16 bytes
  Halves,  // F16
  Blocks,  // Q8_0, tiles at multiples of 16 bytes, rows without a gap
  Q8_0,
};

__device__ inline void copy_piece(__half* shared, const std::byte* from) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)), "l"(from) : "memory");
#else
  *reinterpret_cast<uint4*>(shared) = *reinterpret_cast<const uint4*>(from);
#endif
}

// In one piece: the compiler splits what it does not know to be in shared memory.
__device__ inline void store_piece(__half* shared, uint4 values) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(shared)), "r"(values.x), "r"(values.y),
               "r"(values.z), "r"(values.w)
               : "memory");
}

__device__ inline void finish_cache_tiles() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// Eight values of a row from `column` on, of which n_values are there; the others are zeros.
__device__ inline uint4 halves_of_row(const std::byte* row, int column, int n_values) {
  const uint16_t* const from = reinterpret_cast<const uint16_t*>(row) + column;
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t low = 2 * i < n_values ? from[2 * i] : 0, high = 2 * i + 1 < n_values ? from[2 * i + 1] : 0;
    words[i] = low | high << 16;
  }
  return {words[0], words[1], words[2], words[3]};
}

// The same of blocks of Q8_0; column is a multiple of 8. All of a block is there.
__device__ inline uint4 halves_of_blocks(const std::byte* row, int column) {
  const std::byte* const block = row + column / 32 * 34;
  const __half2 scale = __half2half2(*reinterpret_cast<const __half*>(block));
  const uint16_t* const codes = reinterpret_cast<const uint16_t*>(block + 2 + column % 32);
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    // 0x6400 + n is 1024 + n as a 16-bit float, for n < 1024; codes become n by adding 128.
    const uint32_t biased = __byte_perm(codes[i] ^ 0x8080u, 0x64646464u, 0x4140);
    const __half2 code = __hsub2(*reinterpret_cast<const __half2*>(&biased), __float2half2_rn(1152.0f));
    const __half2 value = __hmul2(code, scale);
    words[i] = *reinterpret_cast<const uint32_t*>(&value);
  }
  return {words[0], words[1], words[2], words[3]};
}

// tile[i, c] = column c of row i, for i < n_rows and c < n_columns, and zero elsewhere. Rows lie row_bytes apart.
template <int kRows, int kColumns, int kThreads>
__device__ inline void load_cache_tile(__half* tile, const std::byte* rows, int row_bytes, int n_rows, int n_columns,
                                       CacheCopy way) {
  constexpr int kPieces = kColumns / kPieceValues;
  static_assert(kColumns % 64 == 0);
  auto visit = [&](int i, auto put) {
    const int row = i / kPieces, piece = i % kPieces;
    const int n_values = row < n_rows ? n_columns - piece * kPieceValues : 0;
    __half* const to = tile + row * kColumns + swizzled_piece(row, piece);
    if (n_values > 0) {
      put(to, rows + row * row_bytes, piece * kPieceValues, n_values);
    } else {
      store_piece(to, uint4{0, 0, 0, 0});
    }
  };
  if (way == CacheCopy::Pieces) {
#pragma unroll 2
    for (int i = static_cast<int>(threadIdx.x); i < kRows * kPieces; i += kThreads)
      visit(i, [](__half* to, const std::byte* row, int column, int) { copy_piece(to, row + column * 2); });
  } else if (way == CacheCopy::Q8_0) {
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < kRows * kPieces; i += kThreads)
      visit(i,
            [](__half* to, const std::byte* row, int column, int) { store_piece(to, halves_of_blocks(row, column)); });
  } else {
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < kRows * kPieces; i += kThreads)
      visit(i, [](__half* to, const std::byte* row, int column, int n_values) {
        store_piece(to, halves_of_row(row, column, n_values));
      });
  }
}

// The first n_bytes of kBytes, and what fills them up to a multiple of 16.
template <int kBytes, int kThreads>
__device__ inline void copy_blocks(std::byte* shared, const std::byte* from, int n_bytes) {
#pragma unroll 1
  for (int at = static_cast<int>(threadIdx.x) * 16; at < kBytes; at += kThreads * 16)
    if (at < n_bytes) copy_piece(reinterpret_cast<__half*>(shared + at), from + at);
}

// Where the rows of a head lie, page after page.
class PageWalk {
 public:
  __device__ PageWalk(const void* const* pages, int64_t head_bytes, int page_positions)
      : pages_(pages), head_bytes_(head_bytes), page_positions_(page_positions) {}
  // The next n positions, which lie in one page.
  __device__ const std::byte* next(int n, int row_bytes) {
    if (left_ == 0) {
      from_ = static_cast<const std::byte*>(*pages_++) + head_bytes_;
      left_ = page_positions_;
    }
    const std::byte* const from = from_;
    from_ += n * row_bytes;
    left_ -= n;
    return from;
  }

 private:
  const void* const* pages_;
  const std::byte* from_ = nullptr;
  int64_t head_bytes_;
  int page_positions_;
  int left_ = 0;
};

}  // namespace sluice::kernels::cuda
