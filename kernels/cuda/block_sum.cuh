// Sums over a thread block in one fixed order.
#pragma once

namespace sluice::kernels::cuda {

__device__ inline double sum_of_warp(double x) {
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, distance);
  return x;
}

// Every thread gets the sum. blockDim.x is a multiple of 32; `shared` has room for a number a warp, and may be used again only
// after another barrier.
__device__ inline double sum_of_block(double x, double* shared) {
  x = sum_of_warp(x);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  double sum = 0;
  for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) sum += shared[warp];
  return sum;
}

}  // namespace sluice::kernels::cuda
