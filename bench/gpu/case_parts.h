// What the cases of bench/gpu are made of: memory, matrices, and how many bytes they have.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench/gpu/count_cases.h"
#include "kernels/cuda/activations.h"
#include "kernels/cuda/multiply.h"
#include "kernels/format.h"

namespace sluice::bench {

namespace gpu = kernels::cuda;
using gguf::TensorType;

inline constexpr int64_t kExpertsUsed = 8;

// Hands out the zeros for inputs and outputs, all in front of each other's ends; results are of no interest.
class Zeros {
 public:
  explicit Zeros(const CaseMemory& memory) : memory_(memory) {}
  template <class T>
  T* take(int64_t n) {
    const uint64_t bytes = (static_cast<uint64_t>(n) * sizeof(T) + 255) / 256 * 256;
    if (used_ + bytes > memory_.zero_bytes) throw std::runtime_error("The memory for inputs and outputs is too small.");
    std::byte* const place = memory_.zeros + used_;
    used_ += bytes;
    return reinterpret_cast<T*>(place);
  }
  // So many, or where there is no room for them as many as the first thread blocks need.
  template <class T>
  T* take_or_begin(int64_t n, int64_t of_first_blocks) {
    const bool has_room = used_ + static_cast<uint64_t>(n) * sizeof(T) + 256 <= memory_.zero_bytes;
    return take<T>(has_room ? n : of_first_blocks);
  }
  template <class T>
  T* take(const std::vector<T>& values) {
    T* const place = take<T>(static_cast<int64_t>(values.size()));
    if (cudaMemcpy(place, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice) != cudaSuccess)
      throw std::runtime_error("Copying to the device failed.");
    return place;
  }
  gpu::Activations activations(int64_t n_rows, int64_t n_columns) {
    gpu::Activations x;
    x.values = take<float>(n_rows * n_columns);
    x.stride = n_columns;
    x.n_rows = n_rows;
    x.n_columns = n_columns;
    gpu::place_forms(x, take<std::byte>(static_cast<int64_t>(gpu::form_bytes(n_rows, n_columns))));
    return x;
  }

 private:
  CaseMemory memory_;
  uint64_t used_ = 0;
};

inline gpu::Matrix matrix_of(TensorType type, int64_t n_outputs, int64_t n_inputs, const std::byte* data) {
  const auto& layout = *kernels::format_of(type).layout;
  gpu::Matrix matrix;
  matrix.type = type;
  matrix.data = data;
  matrix.n_outputs = n_outputs;
  matrix.n_inputs = n_inputs;
  matrix.row_bytes = static_cast<uint64_t>(n_inputs / layout.block_values * layout.block_bytes);
  return matrix;
}

inline uint64_t bytes_of(const gpu::Matrix& matrix) {
  return static_cast<uint64_t>(matrix.n_outputs) * matrix.row_bytes;
}

// Of one input in the form that the format reads.
inline uint64_t input_bytes(TensorType type, int64_t n_columns) {
  const uint64_t columns = static_cast<uint64_t>(n_columns);
  switch (kernels::format_of(type).activation) {
    case kernels::ActivationFormat::Per32:
      return columns + columns / 32 * 8;
    case kernels::ActivationFormat::Per256:
      return columns + columns / 256 * 4 + columns / 16 * 4;
    default:
      return columns * 4;
  }
}

struct Shape {
  const char* model;
  const char* place;
  int64_t n_outputs, n_columns;
};

inline std::string name_of(TensorType type) {
  return std::string(kernels::format_of(type).layout->name);
}

}  // namespace sluice::bench
