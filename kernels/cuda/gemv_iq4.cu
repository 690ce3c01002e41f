#include "kernels/cuda/formats/iq4.cuh"
#include "kernels/cuda/gemv_row.cuh"

namespace sluice::kernels::cuda {

void add_gemv_iq4(std::vector<GemvFormat>& formats) {
  using gguf::TensorType;
  formats.push_back(gemv_row<FormatIQ4_NL>(TensorType::IQ4_NL, "multiply IQ4_NL"));
  formats.push_back(gemv_row<FormatIQ4_XS>(TensorType::IQ4_XS, "multiply IQ4_XS"));
}

}  // namespace sluice::kernels::cuda
