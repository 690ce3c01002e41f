// What attention on tensor cores is told, the sizes of its thread blocks, and the arithmetic of a row (attention_prefill.cuh).
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_join.h"
#include "kernels/cuda/cache_tile.cuh"

namespace sluice::kernels::cuda {

struct PrefillArguments {
  const AttentionRow* rows;
  const AttentionRun* runs;
  const float* q;
  float* out;
  float* scratch;  // null: not split
  int64_t q_stride, out_stride;
  int64_t key_head_bytes, value_head_bytes;
  int32_t key_row_bytes, value_row_bytes;
  int32_t page_positions;
  uint32_t most_pieces;  // of a run, 1 where attention is not split
  int32_t heads_per_group;
  int32_t key_size;
  int32_t value_size;
  int32_t piece_floats;
  float scale;
  CacheCopy copy;
};

template <int kKeySize_, int kValueSize_, int kRowTiles_, int kRowWarps_, int kColumnWarps_, int kKeys_,
          bool kIsLatent_>
struct PrefillShape {
  static constexpr int kKeySize = kKeySize_, kValueSize = kValueSize_;  // columns behind a head's are zeros
  static constexpr int kRowTiles = kRowTiles_;                          // of 16 rows, a warp
  static constexpr int kRowWarps = kRowWarps_, kColumnWarps = kColumnWarps_;
  static constexpr int kKeys = kKeys_;  // positions at a time
  static constexpr bool kIsLatent = kIsLatent_;
  static constexpr int kThreads = kRowWarps * kColumnWarps * 32;
  static constexpr int kRows = kRowWarps * kRowTiles * 16;
  static constexpr int kKeySteps = kKeySize / 16 / kColumnWarps;     // of 16 columns, a warp
  static constexpr int kValueTiles = kValueSize / 8 / kColumnWarps;  // of 8 columns, a warp
  static constexpr int kKeyTiles = kKeys / 8;
  static constexpr bool kQueriesInRegisters = kIsLatent;
  static_assert(kKeys % 16 == 0 && 64 % kKeys == 0);
  static_assert(kKeySize % 64 == 0 && (kColumnWarps == 1 || kColumnWarps == 4) &&
                kValueSize % (64 * kColumnWarps) == 0);

  // Of shared memory.
  static constexpr int kKeyTileBytes = kKeys * kKeySize * 2 * (kIsLatent ? 2 : 1);
  static constexpr int kValueTileBytes = kIsLatent ? 0 : kKeys * kValueSize * 2;
  static constexpr int kQueryBytes = kQueriesInRegisters ? 0 : kRows * kKeySize * 2;
  static constexpr int kPartialBytes = kColumnWarps == 1 ? 0 : kColumnWarps * kRows * kKeys * 4;
  static constexpr int kRowBytes = kRows * 8;
  static constexpr int kKeyBlockBytes = kKeys * kKeySize / 32 * 34;  // of a tile of Q8_0
  static constexpr int kValueBlockBytes = kIsLatent ? 0 : kKeys * kValueSize / 32 * 34;
  static constexpr int kBlockBytes = kKeyBlockBytes + kValueBlockBytes;  // behind all else, where they are used
  static constexpr int kSharedBytes = kKeyTileBytes + kValueTileBytes + kQueryBytes + kPartialBytes + kRowBytes;
};

__device__ inline float power_of_two(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// The largest of a row of scores, or the sum: four lanes have it.
__device__ inline float largest_of_row(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 2));
}
__device__ inline float sum_of_row(float x) {
  x += __shfl_xor_sync(0xFFFFFFFFu, x, 1);
  return x + __shfl_xor_sync(0xFFFFFFFFu, x, 2);
}

// The power of two that brings a number of this magnitude to [2^10, 2^11), as far as there is one, and its inverse: queries keep all the
// bits that 16-bit floats have, however large or small a row is, and neither they nor their products with keys overflow.
__device__ inline void power_for_f16(float magnitude, float& power, float& inverse) {
  const uint32_t exponent = max(__float_as_uint(magnitude) >> 23, 11u);
  power = __uint_as_float((264 - exponent) << 23);
  inverse = __uint_as_float((exponent - 10) << 23);
}

}  // namespace sluice::kernels::cuda
