// Weight handles: what a forward pass multiplies by. It never sees a tensor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "gguf/tensor_type.h"
#include "kernels/resident.h"

namespace sluice::engine {

// Which memory they lie in.
enum class Place : uint8_t { MappedFile, Buffer };

// A low-rank correction y += scale * B (A x), A [rank, n_inputs] and B [n_outputs, rank] in float32, row-major.
struct Adapter {
  std::shared_ptr<const std::vector<float>> a;
  std::shared_ptr<const std::vector<float>> b;
  int64_t rank = 0;
  float scale = 1;
};

// A float32 vector in device memory (norm weights, biases).
struct Vector {
  const float* data = nullptr;
  int64_t size = 0;

  explicit operator bool() const { return data != nullptr; }
};

// A matrix [n_outputs, n_inputs] in some format: y = W x. A value; the memory belongs to whoever made the handle (the
// mapped file, or a slot of the expert store) and outlives it.
struct Linear {
  gguf::TensorType type = gguf::TensorType::F32;
  // How they lie there: null for the blocks as GGUF has them, else an exact rearrangement (kernels/resident.h).
  const kernels::ResidentForm* form = nullptr;
  Place place = Place::MappedFile;
  int64_t n_outputs = 0;
  int64_t n_inputs = 0;
  const std::byte* data = nullptr;
  uint64_t row_bytes = 0;  // of the blocks
  Vector bias;             // [n_outputs], may be empty
  std::vector<Adapter> adapters;

  explicit operator bool() const { return data != nullptr; }
  // Bytes at `data`.
  uint64_t bytes() const {
    return form != nullptr ? form->bytes(n_outputs, n_inputs) : row_bytes * static_cast<uint64_t>(n_outputs);
  }

  // The handle of the rows [begin, begin + count): a head's part of a fused matrix. Only for matrices of blocks without
  // adapters.
  Linear rows(int64_t begin, int64_t count) const {
    Linear part = *this;
    part.data = data + row_bytes * static_cast<uint64_t>(begin);
    part.n_outputs = count;
    if (bias) part.bias = {bias.data + begin, count};
    part.adapters.clear();
    return part;
  }
};

// A stack of equal matrices, one for each expert or head: a three-dimensional tensor. Nobody else indexes one.
struct LinearStack {
  Linear first;
  int64_t count = 0;
  uint64_t stride_bytes = 0;

  explicit operator bool() const { return count > 0; }
  Linear at(int64_t index) const {
    Linear matrix = first;
    matrix.data = first.data + stride_bytes * static_cast<uint64_t>(index);
    return matrix;
  }
};

}  // namespace sluice::engine
