// Starting a launch on a stream.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/launch.h"

namespace sluice::kernels::cuda {

// As cudaLaunchKernel (cudaLaunchHostFunc, cuStreamWaitValue32) returns it; also while a stream is being captured.
// cudaErrorNotSupported for a wait for a word where the driver knows none.
[[nodiscard]] cudaError_t start(const Launch& launch, cudaStream_t stream);

}  // namespace sluice::kernels::cuda
