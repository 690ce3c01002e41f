#include "kernels/cuda/formats/iq2.cuh"
#include "kernels/cuda/gemv_row.cuh"

namespace sluice::kernels::cuda {

void add_gemv_iq2(std::vector<GemvFormat>& formats) {
  using gguf::TensorType;
  formats.push_back(gemv_row<FormatIQ2_XXS>(TensorType::IQ2_XXS, "multiply IQ2_XXS"));
  formats.push_back(gemv_row<FormatIQ2_XS>(TensorType::IQ2_XS, "multiply IQ2_XS"));
  formats.push_back(gemv_row<FormatIQ2_S>(TensorType::IQ2_S, "multiply IQ2_S"));
}

}  // namespace sluice::kernels::cuda
