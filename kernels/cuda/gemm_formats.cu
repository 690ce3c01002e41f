#include "kernels/cuda/gemm_formats.h"

#include <algorithm>

namespace sluice::kernels::cuda {

const GemmFormat* find_gemm_format(gguf::TensorType type) {
  static const std::vector<GemmFormat> kFormats = [] {
    std::vector<GemmFormat> formats;
    add_gemm_whole(formats);
    add_gemm_scaled(formats);
    add_gemm_blocks(formats);
    return formats;
  }();
  const auto found =
      std::find_if(kFormats.begin(), kFormats.end(), [&](const GemmFormat& format) { return format.type == type; });
  return found == kFormats.end() ? nullptr : &*found;
}

}  // namespace sluice::kernels::cuda
