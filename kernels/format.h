// The table of formats: one row a GGUF tensor type, with what is needed to compute with it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "gguf/tensor_type.h"

namespace sluice::kernels {

// The form that a vector takes before it is multiplied by weights of a format. Per32 and Per256 are 8-bit and defined
// in kernels/reference/activations.h.
enum class ActivationFormat {
  None,    // tensors of this type are read, never multiplied by
  F32,     // the vector as it is
  Per32,   // one scale for 32 values: weights in blocks of 32 (and NVFP4 of 64, Q1_0 of 128, in parts)
  Per256,  // one scale for 256 values: weights in super-blocks of 256
};

// The instruction sets that kernels are written for. Reference is what every machine has.
enum class Isa { Reference, Avx2, Avx512 };
inline constexpr size_t kIsaCount = 3;

// out[i] = the product of one row of n_columns weights, in blocks at any address, with inputs[i], for i in [0,
// n_inputs). An input is an array of Activation32 or Activation256 (kernels/reference/activations.h), as the format's
// activation form says. What out[i] becomes does not depend on the other inputs.
using RowProduct = void(const std::byte* row, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                        float* out);

struct Format {
  gguf::TensorType type;
  const gguf::TypeLayout* layout;  // name, values and bytes a block
  ActivationFormat activation;
  void (*dequantize)(const std::byte* blocks, int64_t n_values, float* values);  // whole blocks at any address
  // By Isa; null where none is written, and then the row is dequantised.
  std::array<RowProduct*, kIsaCount> row_product{};
};

// All formats, ordered by the type's number.
std::span<const Format> all_formats();

// The row of a type, or null for a number that is no type of the format.
const Format* find_format(gguf::TensorType type);

// The row of a known type. Throws std::invalid_argument for others.
const Format& format_of(gguf::TensorType type);

}  // namespace sluice::kernels
