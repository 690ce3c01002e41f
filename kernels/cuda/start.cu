#include "kernels/cuda/start.h"

namespace sluice::kernels::cuda {

cudaError_t start(const Launch& launch, cudaStream_t stream) {
  // Beyond 48 KiB, static shared memory included, a kernel must be allowed to have it.
  constexpr uint32_t kNeedsNoLeave = 44 * 1024;
  if (launch.shared_bytes > kNeedsNoLeave) {
    const cudaError_t error = cudaFuncSetAttribute(launch.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                   static_cast<int>(launch.shared_bytes));
    if (error != cudaSuccess) return error;
  }
  void* arguments[] = {const_cast<std::byte*>(launch.arguments)};
  return cudaLaunchKernel(launch.kernel, dim3(launch.grid[0], launch.grid[1], launch.grid[2]),
                          dim3(launch.block[0], launch.block[1], launch.block[2]), arguments, launch.shared_bytes,
                          stream);
}

}  // namespace sluice::kernels::cuda
