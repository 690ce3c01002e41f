#include "kernels/cuda/formats/plain.cuh"
#include "kernels/cuda/gemv_row.cuh"

namespace sluice::kernels::cuda {

void add_gemv_plain(std::vector<GemvFormat>& formats) {
  using gguf::TensorType;
  formats.push_back(gemv_row<FormatF32>(TensorType::F32, "multiply F32"));
  formats.push_back(gemv_row<FormatF16>(TensorType::F16, "multiply F16"));
  formats.push_back(gemv_row<FormatBF16>(TensorType::BF16, "multiply BF16"));
}

}  // namespace sluice::kernels::cuda
