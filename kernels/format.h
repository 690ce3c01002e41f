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
  Per32,   // one scale for 32 values: weights in blocks of 32 (and NVFP4, in two halves of its 64)
  Per256,  // one scale for 256 values: weights in super-blocks of 256
};

// The instruction sets that kernels are written for. Reference is what every machine has.
enum class Isa { Reference, Avx2, Avx512 };
inline constexpr size_t kIsaCount = 3;

// out[m, n_rows] = activations[m, n_columns] * weights[n_rows, n_columns] transposed, the activations in the format's
// form.
using MultiplyFunction = void(const std::byte* weights, int64_t n_rows, int64_t n_columns, const void* activations,
                              int64_t m, float* out);

// The kernels of one instruction set for one format; null where none is written, and then reference's serves.
struct Kernels {
  MultiplyFunction* multiply = nullptr;
};

struct Format {
  gguf::TensorType type;
  const gguf::TypeLayout* layout;  // name, values and bytes a block
  ActivationFormat activation;
  void (*dequantize)(const std::byte* blocks, int64_t n_values, float* values);  // whole blocks at any address
  std::array<Kernels, kIsaCount> kernels{};                                      // by Isa
};

// All formats, ordered by the type's number.
std::span<const Format> all_formats();

// The row of a type, or null for a number that is no type of the format.
const Format* find_format(gguf::TensorType type);

// The row of a known type. Throws std::invalid_argument for others.
const Format& format_of(gguf::TensorType type);

}  // namespace sluice::kernels
