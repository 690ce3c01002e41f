// The table of formats: one row a GGUF tensor type, with what is needed to compute with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "gguf/tensor_type.h"
#include "kernels/isa.h"

namespace sluice::kernels {

// The form that a vector takes before it is multiplied by weights of a format. Per32 and Per256 are 8-bit and defined
// in kernels/reference/activations.h.
enum class ActivationFormat {
  None,    // tensors of this type are read, never multiplied by
  F32,     // the vector as it is
  Per32,   // one scale for 32 values: weights in blocks of 32 (and NVFP4 of 64, Q1_0 of 128, in parts)
  Per256,  // one scale for 256 values: weights in super-blocks of 256
};

// Rows are multiplied in groups of this many, so that a vector holds one value of each.
inline constexpr int64_t kRowGroup = 8;
// And many inputs by tiles of this many rows.
inline constexpr int64_t kTileRows = 32;

// The numeric contract of products with 8-bit activations. Within a block of the activation's form (32 or 256 values)
// all sums are whole numbers and exact. A row's blocks are then added in order, in float32:
//
//   sum = fma(scale of the weights * scale of the input, whole sum, sum)
//   sum = fma(-min of the weights * scale of the input, whole sum of the mins, sum)     where the format has float mins
//
// so every kernel gives the same bits, however many rows and inputs it takes at a time and however the weights lie.

// out[i * kRowGroup + r] = the product of rows[r] with inputs[i]. Rows are n_columns weights in blocks at any address; an
// input is an array of Activation32 or Activation256 (kernels/reference/activations.h), or of floats, as the format says.
using RowGroupProduct = void(const std::byte* const* rows, int64_t n_columns, const void* const* inputs,
                             int64_t n_inputs, float* out);

// How a format takes part in products: value = scale * (group_scale * code - group_min) - min.
struct Coding {
  enum class Mins {
    None,
    Whole,  // whole numbers under the block's own scale; where activations are Per32, one for all blocks of the format
    Float,  // under a float of their own; whole numbers a group where activations are Per256
  };
  bool is_signed = false;  // codes are bytes in [-127, 127], else in [0, largest_code]
  int largest_code = 0;
  int group = 32;  // values that share a group_scale: 16 or 32
  Mins mins = Mins::None;
};

// 256 neighbouring values of a row, taken apart. For Per32 formats group g of 32 has scale[g] and min[g] and its
// group_scale is 1; for Per256 ones scale[0] and min[0] hold for all.
struct CodedValues {
  alignas(32) uint8_t codes[256];
  alignas(32) int16_t group_scales[16];  // of 16 values each
  alignas(32) int16_t group_mins[16];
  alignas(32) float scale[8];
  alignas(32) float min[8];
};

// Takes n_values values apart: 256, or fewer (a multiple of 32) at the end of a row, the rest then being zeros.
using UnpackCodes = void(const std::byte* blocks, int64_t n_values, CodedValues& coded);

struct Format {
  gguf::TensorType type;
  const gguf::TypeLayout* layout;  // name, values and bytes a block
  ActivationFormat activation;
  void (*dequantize)(const std::byte* blocks, int64_t n_values, float* values);  // whole blocks at any address
  // Where none is written, rows are dequantised.
  ByIsa<RowGroupProduct> row_group_product{};
  ByIsa<UnpackCodes> unpack_codes{};
  Coding coding{};  // of what unpack_codes gives
};

// All formats, ordered by the type's number.
std::span<const Format> all_formats();

// The row of a type, or null for a number that is no type of the format.
const Format* find_format(gguf::TensorType type);

// The row of a known type. Throws std::invalid_argument for others.
const Format& format_of(gguf::TensorType type);

}  // namespace sluice::kernels
