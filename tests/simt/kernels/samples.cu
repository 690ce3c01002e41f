// Kernels of the kinds that engines have, for the emulator's own tests.
#include <cstdint>

struct SumArguments {
  const float* x;
  float* sums;
  int64_t n_columns;
};

// One block a row: sums[row] = sum of x[row, :].
extern "C" __global__ void sum_rows(SumArguments arguments) {
  __shared__ float of_warps[32];
  const float* row = arguments.x + blockIdx.x * arguments.n_columns;
  float sum = 0;
  for (int64_t i = threadIdx.x; i < arguments.n_columns; i += blockDim.x) sum += row[i];
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    float total = 0;
    for (unsigned i = 0; i < blockDim.x / 32; ++i) total += of_warps[i];
    arguments.sums[blockIdx.x] = total;
  }
}
