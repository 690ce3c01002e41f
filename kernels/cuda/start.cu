#include "kernels/cuda/start.h"

#include <cuda.h>

namespace sluice::kernels::cuda {

namespace {

template <class Arguments>
Arguments arguments_of(const Launch& launch) {
  Arguments arguments;
  std::memcpy(&arguments, launch.arguments, sizeof arguments);
  return arguments;
}

// A call of the driver, looked up by name so that the program does not link with the driver. Of CUDA 12, where these calls need no
// leave of the system.
cudaError_t wait_for_word(const WordArguments& arguments, cudaStream_t stream) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult status = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion("cuStreamWaitValue32", &found, 12000, cudaEnableDefault, &status);
  if (error != cudaSuccess) return error;
  if (status != cudaDriverEntryPointSuccess || found == nullptr) return cudaErrorNotSupported;
  using Wait = CUresult(CUDAAPI*)(CUstream, CUdeviceptr, cuuint32_t, unsigned);
  // The driver's errors have the numbers of the runtime's.
  return static_cast<cudaError_t>(reinterpret_cast<Wait>(found)(stream, reinterpret_cast<CUdeviceptr>(arguments.word),
                                                                arguments.value, CU_STREAM_WAIT_VALUE_GEQ));
}

}  // namespace

cudaError_t start(const Launch& launch, cudaStream_t stream) {
  if (launch.kind == Launch::Kind::WaitForWord) return wait_for_word(arguments_of<WordArguments>(launch), stream);
  if (launch.kind == Launch::Kind::HostFunction) {
    const auto call = arguments_of<HostFunctionArguments>(launch);
    return cudaLaunchHostFunc(stream, call.function, call.data);
  }
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
