#include "tests/cuda_device/watched_publication.h"

#include "kernels/cuda/publish.cuh"

namespace sluice::tests {
namespace {

using namespace kernels::cuda;

template <class T>
__device__ void copy(const T* from, int64_t n, uint32_t*& to) {
  static_assert(sizeof(T) == 4);
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) to[i] = reinterpret_cast<const uint32_t*>(from)[i];
  to += n;
}

__global__ void watched(const PublishArguments a, uint32_t* seen) {
  if (blockIdx.x == 0) return publish(a);
  if (threadIdx.x == 0) {
    while (*const_cast<volatile uint32_t*>(a.to.published) != *a.pass) {
    }
    __threadfence_system();
    *a.to.gate = kGateOpen;
  }
  __syncthreads();
  copy(a.to.ids, a.n_rows * a.n_used, seen);
  copy(a.to.weights, a.n_rows * a.n_used, seen);
  copy(a.to.hits, a.n_rows, seen);
  copy(a.to.inputs, a.n_rows * a.n_columns, seen);
}

}  // namespace

cudaError_t publish_while_watched(const PublishCall& call, uint32_t* seen) {
  watched<<<2, 64>>>(publish_arguments(call), seen);
  return cudaDeviceSynchronize();
}

}  // namespace sluice::tests
