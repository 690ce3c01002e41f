// What a matrix of floats costs on tensor cores, for those who count.
#pragma once

#include "gguf/tensor_type.h"

namespace sluice::kernels::cuda {

// Products of 16-bit floats that make one of a weight and an input (gemm_floats.cuh); 0 for formats that are multiplied otherwise.
constexpr int float_products(gguf::TensorType type) {
  switch (type) {
    case gguf::TensorType::F16:
      return 2;
    case gguf::TensorType::BF16:
      return 3;
    case gguf::TensorType::F32:
      return 6;
    default:
      return 0;
  }
}

}  // namespace sluice::kernels::cuda
