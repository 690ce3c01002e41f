#include "kernels/cuda/gemm_formats.h"

#include <cuda_runtime_api.h>

#include <algorithm>

namespace sluice::kernels::cuda {

namespace {

// What the kernel was compiled for, and not what the GPU is: a newer one may run code of an older architecture.
bool is_compiled_for(const void* kernel, int architecture) {
  cudaFuncAttributes attributes{};
  return cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess && attributes.ptxVersion >= architecture;
}

}  // namespace

const GemmFormat* find_gemm_format(gguf::TensorType type) {
  static const std::vector<GemmFormat> kFormats = [] {
    std::vector<GemmFormat> formats;
    add_gemm_whole(formats);
    add_gemm_scaled(formats);
    add_gemm_blocks(formats);
    add_gemm_floats(formats);
    return formats;
  }();
  const auto found =
      std::find_if(kFormats.begin(), kFormats.end(), [&](const GemmFormat& format) { return format.type == type; });
  if (found == kFormats.end()) return nullptr;
  constexpr int kEvery = 75;
  return found->least_architecture <= kEvery || is_compiled_for(found->kernel, found->least_architecture) ? &*found
                                                                                                          : nullptr;
}

}  // namespace sluice::kernels::cuda
