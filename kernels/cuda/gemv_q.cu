#include "kernels/cuda/formats/q4_0.cuh"
#include "kernels/cuda/formats/q4_1.cuh"
#include "kernels/cuda/formats/q5_0.cuh"
#include "kernels/cuda/formats/q5_1.cuh"
#include "kernels/cuda/formats/q8_0.cuh"
#include "kernels/cuda/gemv_row.cuh"

namespace sluice::kernels::cuda {

void add_gemv_q(std::vector<GemvFormat>& formats) {
  using gguf::TensorType;
  formats.push_back(gemv_row<FormatQ4_0>(TensorType::Q4_0, "multiply Q4_0"));
  formats.push_back(gemv_row<FormatQ4_1>(TensorType::Q4_1, "multiply Q4_1"));
  formats.push_back(gemv_row<FormatQ5_0>(TensorType::Q5_0, "multiply Q5_0"));
  formats.push_back(gemv_row<FormatQ5_1>(TensorType::Q5_1, "multiply Q5_1"));
  formats.push_back(gemv_row<FormatQ8_0>(TensorType::Q8_0, "multiply Q8_0"));
  formats.push_back(gemv_row<FormatQ8_1>(TensorType::Q8_1, "multiply Q8_1"));
}

}  // namespace sluice::kernels::cuda
