// The 8-bit forms of what a launch stores, made by the launch itself (OutputForms).
//
// Warps store outputs in no order. Each adds what it has stored of a block of 256 columns to the block's counter, behind a fence; whoever
// brings it to the whole block finds all of it in memory, quantises it, and sets the counter back to zero for the next launch.
#pragma once

#include "kernels/cuda/multiply.h"
#include "kernels/cuda/quantize.cuh"

namespace sluice::kernels::cuda {

// As load_eight(), past the first-level cache, which may not know what other SMs stored.
__device__ inline LaneValues load_eight_of_others(const float* row, int64_t first, int64_t n_columns) {
  LaneValues x;
#pragma unroll
  for (int i = 0; i < 8; ++i) x.v[i] = first + i < n_columns ? __ldcg(row + first + i) : 0.0f;
  return x;
}

// Called by all lanes of a warp once they have stored the columns [begin, end) of a row.
__device__ inline void quantize_when_whole(const OutputForms& forms, int64_t row, int begin, int end) {
  const int n_columns = static_cast<int>(forms.to.n_columns), lane = threadIdx.x % 32;
  __syncwarp();  // puts what all lanes stored before the fence of the one that counts it
#pragma unroll 1
  for (int block = begin / 256; block * 256 < end; ++block) {
    const int first = block * 256, last = min(first + 256, n_columns);
    const uint32_t n_own = static_cast<uint32_t>(min(end, last) - max(begin, first));
    uint32_t* const n_done = forms.n_done + row * ((n_columns + 255) / 256) + block;
    uint32_t n = 0;
    if (lane == 0) {
      __threadfence();
      n = atomicAdd(n_done, n_own) + n_own;
      __threadfence();
    }
    __syncwarp();
    if (__shfl_sync(0xFFFFFFFFu, n, 0) != static_cast<uint32_t>(last - first)) continue;
    if (lane == 0) atomicExch(n_done, 0);
    const float* const values = forms.to.values + row * forms.to.stride;
    write_forms(forms.to, row, block, load_eight_of_others(values, first + lane * 8, n_columns), forms.not_finite);
  }
}

}  // namespace sluice::kernels::cuda
