// A file as programs have them: kernels, launched with <<<>>> and with cudaLaunchKernel.
#include "tests/simt/kernels/launches.h"

namespace sluice::simt {
namespace {

struct Arguments {
  float* values;
  int64_t n;
};

__global__ void scale(Arguments arguments, float factor) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i < arguments.n) arguments.values[i] *= factor;
}

template <int kAdded>
__global__ void add(Arguments arguments) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i < arguments.n) arguments.values[i] += kAdded;
}

// Each block turns its values around, by way of dynamic shared memory.
__global__ void reverse_blocks(Arguments arguments) {
  extern __shared__ float of_block[];
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  of_block[threadIdx.x] = arguments.values[i];
  __syncthreads();
  arguments.values[i] = of_block[blockDim.x - 1 - threadIdx.x];
}

// Adds to *counter how many values are above zero.
__global__ void count(Arguments arguments, unsigned* counter) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i < arguments.n && arguments.values[i] > 0) atomicAdd(counter, 1u);
}

// Writes one value behind the end.
__global__ void overrun(Arguments arguments) {
  arguments.values[arguments.n] = 1;
}

unsigned n_blocks(int64_t n) {
  return static_cast<unsigned>((n + 31) / 32);
}

}  // namespace

cudaError_t scale_with_chevrons(float* values, int64_t n, float factor, cudaStream_t stream) {
  scale<<<n_blocks(n), 32, 0, stream>>>({values, n}, factor);
  return cudaGetLastError();
}

cudaError_t add_three(float* values, int64_t n, cudaStream_t stream) {
  Arguments arguments{values, n};
  void* list[] = {&arguments};
  return cudaLaunchKernel(reinterpret_cast<const void*>(&add<3>), n_blocks(n), 32, list, 0, stream);
}

cudaError_t reverse_in_blocks(float* values, int64_t n, size_t shared_bytes, cudaStream_t stream) {
  reverse_blocks<<<n_blocks(n), 32, shared_bytes, stream>>>({values, n});
  return cudaGetLastError();
}

cudaError_t allow_shared_bytes(int bytes) {
  return cudaFuncSetAttribute(reverse_blocks, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

cudaError_t count_reversing_blocks(int* n, int block_threads, size_t shared_bytes) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessor(n, reverse_blocks, block_threads, shared_bytes);
}

cudaError_t count_values(const float* values, int64_t n, unsigned* counter, cudaStream_t stream) {
  count<<<n_blocks(n), 32, 0, stream>>>({const_cast<float*>(values), n}, counter);
  return cudaGetLastError();
}

cudaError_t overrun_by_one(float* values, int64_t n, cudaStream_t stream) {
  overrun<<<1, 1, 0, stream>>>({values, n});
  return cudaGetLastError();
}

}  // namespace sluice::simt
