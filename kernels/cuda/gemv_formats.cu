#include "kernels/cuda/gemv_formats.h"

#include <algorithm>

namespace sluice::kernels::cuda {

const GemvFormat* find_gemv_format(gguf::TensorType type) {
  static const std::vector<GemvFormat> kFormats = [] {
    std::vector<GemvFormat> formats;
    add_gemv_plain(formats);
    add_gemv_q(formats);
    add_gemv_k(formats);
    add_gemv_small(formats);
    add_gemv_iq1(formats);
    add_gemv_iq2(formats);
    add_gemv_iq3(formats);
    add_gemv_iq4(formats);
    return formats;
  }();
  const auto found =
      std::find_if(kFormats.begin(), kFormats.end(), [&](const GemvFormat& format) { return format.type == type; });
  return found == kFormats.end() ? nullptr : &*found;
}

}  // namespace sluice::kernels::cuda
