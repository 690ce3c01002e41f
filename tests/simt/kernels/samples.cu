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

// What is counted: each line of the kernel is one way to use memory. One warp a block.
struct PatternArguments {
  const float* x;
  float* y;
  int n_rounds;
};
extern "C" __global__ void access_patterns(PatternArguments a) {
  __shared__ float tile[32 * 33];
  const int t = threadIdx.x;
  float sum = a.x[t];
  sum += a.x[t * 8];
  sum += a.x[t + 1];
  sum += a.x[5];
  const float4 four = reinterpret_cast<const float4*>(a.x)[t];
  tile[t] = sum;
  tile[32 + t * 32] = four.x;
  tile[33 * t] = four.y;
  __syncwarp();
  for (int i = 0; i < a.n_rounds; ++i) sum += tile[0];
  if (t < 7) a.y[t] = sum + four.z + four.w;
}
