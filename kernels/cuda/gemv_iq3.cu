#include "kernels/cuda/formats/iq3.cuh"
#include "kernels/cuda/gemv_row.cuh"

namespace sluice::kernels::cuda {

void add_gemv_iq3(std::vector<GemvFormat>& formats) {
  using gguf::TensorType;
  formats.push_back(gemv_row<FormatIQ3_XXS>(TensorType::IQ3_XXS, "multiply IQ3_XXS"));
  formats.push_back(gemv_row<FormatIQ3_S>(TensorType::IQ3_S, "multiply IQ3_S"));
}

}  // namespace sluice::kernels::cuda
