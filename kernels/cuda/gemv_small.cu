#include "kernels/cuda/formats/fp4.cuh"
#include "kernels/cuda/formats/q1_0.cuh"
#include "kernels/cuda/formats/tq.cuh"
#include "kernels/cuda/gemv_row.cuh"

namespace sluice::kernels::cuda {

void add_gemv_small(std::vector<GemvFormat>& formats) {
  using gguf::TensorType;
  formats.push_back(gemv_row<FormatMXFP4>(TensorType::MXFP4, "multiply MXFP4"));
  formats.push_back(gemv_row<FormatNVFP4>(TensorType::NVFP4, "multiply NVFP4"));
  formats.push_back(gemv_row<FormatQ1_0>(TensorType::Q1_0, "multiply Q1_0"));
  formats.push_back(gemv_row<FormatTQ1_0>(TensorType::TQ1_0, "multiply TQ1_0"));
  formats.push_back(gemv_row<FormatTQ2_0>(TensorType::TQ2_0, "multiply TQ2_0"));
}

}  // namespace sluice::kernels::cuda
