// What kernels/launches.cu offers: each call starts one kernel, on values in device memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace sluice::simt {

cudaError_t scale_with_chevrons(float* values, int64_t n, float factor, cudaStream_t stream);
cudaError_t add_three(float* values, int64_t n, cudaStream_t stream);
// n is a multiple of 32; 128 bytes of shared memory are enough.
cudaError_t reverse_in_blocks(float* values, int64_t n, size_t shared_bytes, cudaStream_t stream);
cudaError_t allow_shared_bytes(int bytes);
cudaError_t count_reversing_blocks(int* n, int block_threads, size_t shared_bytes);
cudaError_t count_values(const float* values, int64_t n, unsigned* counter, cudaStream_t stream);
cudaError_t overrun_by_one(float* values, int64_t n, cudaStream_t stream);

}  // namespace sluice::simt
