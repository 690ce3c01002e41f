// 32 columns of a row of a cache by one warp (kernels/reference/cache_rows.h, bit for bit).
#pragma once

#include <cfloat>

#include "kernels/cache_type.h"
#include "kernels/cuda/half_bits.cuh"

namespace sluice::kernels::cuda {

// Lane l has the value x of column block * 32 + l, which may not be there. `row` is where the row begins.
__device__ inline void store_cache_columns(CacheType type, std::byte* row, int block, float x, bool is_there) {
  const int lane = threadIdx.x % 32, column = block * 32 + lane;
  if (type == CacheType::Q8_0) {
    const bool is_finite = __all_sync(0xFFFFFFFFu, fabsf(x) <= FLT_MAX);
    float largest = fabsf(x);
    for (int distance = 16; distance > 0; distance /= 2)
      largest = fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFu, largest, distance));
    const float inverse = 127 / largest;
    const bool is_zero = !is_finite || !(inverse <= FLT_MAX);
    std::byte* const to = row + static_cast<int64_t>(block) * 34;
    if (lane == 0)
      *reinterpret_cast<uint16_t*>(to) = static_cast<uint16_t>(!is_finite ? 0x7E00u
                                                               : is_zero  ? 0u
                                                                          : f16_bits(largest / 127));
    to[2 + lane] = static_cast<std::byte>(is_zero ? 0 : __float2int_rn(x * inverse));
  } else if (is_there) {
    if (type == CacheType::F32)
      reinterpret_cast<float*>(row)[column] = x;
    else
      reinterpret_cast<uint16_t*>(row)[column] =
          static_cast<uint16_t>(type == CacheType::F16 ? f16_bits(x) : bf16_bits(x));
  }
}

}  // namespace sluice::kernels::cuda
