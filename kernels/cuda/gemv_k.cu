#include "kernels/cuda/formats/q2_k.cuh"
#include "kernels/cuda/formats/q3_k.cuh"
#include "kernels/cuda/formats/q4_k.cuh"
#include "kernels/cuda/formats/q6_k.cuh"
#include "kernels/cuda/formats/q8_k.cuh"
#include "kernels/cuda/gemv_row.cuh"

namespace sluice::kernels::cuda {

void add_gemv_k(std::vector<GemvFormat>& formats) {
  using gguf::TensorType;
  formats.push_back(gemv_row<FormatQ2_K>(TensorType::Q2_K, "multiply Q2_K"));
  formats.push_back(gemv_row<FormatQ3_K>(TensorType::Q3_K, "multiply Q3_K"));
  formats.push_back(gemv_row<FormatQ4_K>(TensorType::Q4_K, "multiply Q4_K"));
  formats.push_back(gemv_row<FormatQ5_K>(TensorType::Q5_K, "multiply Q5_K"));
  formats.push_back(gemv_row<FormatQ6_K>(TensorType::Q6_K, "multiply Q6_K"));
  formats.push_back(gemv_row<FormatQ8_K>(TensorType::Q8_K, "multiply Q8_K"));
}

}  // namespace sluice::kernels::cuda
