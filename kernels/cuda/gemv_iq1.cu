#include "kernels/cuda/formats/iq1.cuh"
#include "kernels/cuda/gemv_row.cuh"

namespace sluice::kernels::cuda {

void add_gemv_iq1(std::vector<GemvFormat>& formats) {
  using gguf::TensorType;
  formats.push_back(gemv_row<FormatIQ1_S>(TensorType::IQ1_S, "multiply IQ1_S"));
  formats.push_back(gemv_row<FormatIQ1_M>(TensorType::IQ1_M, "multiply IQ1_M"));
}

}  // namespace sluice::kernels::cuda
