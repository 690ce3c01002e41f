// The tensor types of the GGUF format: their numbers in the file, names and block sizes.
//
// A row of a tensor is cut into blocks of `block_values` consecutive values, each stored in `block_bytes` bytes. What
// lies inside a block is defined in kernels/reference/.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace sluice::gguf {

// The values are the numbers that stand in files. Gaps are types that the format has withdrawn.
enum class TensorType : uint32_t {
  F32 = 0,
  F16 = 1,
  Q4_0 = 2,
  Q4_1 = 3,
  Q5_0 = 6,
  Q5_1 = 7,
  Q8_0 = 8,
  Q8_1 = 9,
  Q2_K = 10,
  Q3_K = 11,
  Q4_K = 12,
  Q5_K = 13,
  Q6_K = 14,
  Q8_K = 15,
  IQ2_XXS = 16,
  IQ2_XS = 17,
  IQ3_XXS = 18,
  IQ1_S = 19,
  IQ4_NL = 20,
  IQ3_S = 21,
  IQ2_S = 22,
  IQ4_XS = 23,
  I8 = 24,
  I16 = 25,
  I32 = 26,
  I64 = 27,
  F64 = 28,
  IQ1_M = 29,
  BF16 = 30,
  TQ1_0 = 34,
  TQ2_0 = 35,
  MXFP4 = 39,
  NVFP4 = 40,
  Q1_0 = 41,
};

struct TypeLayout {
  TensorType type;
  std::string_view name;  // as the format writes it: "Q4_K"
  uint32_t block_values;  // values a block
  uint32_t block_bytes;   // bytes a block
};

// All known types, ordered by number.
std::span<const TypeLayout> all_type_layouts();

// The layout of the type with this number, or null when the format has no such type (or has withdrawn it).
const TypeLayout* find_type_layout(uint32_t type_number);

// The name of a type that the format once had and has withdrawn ("Q4_0_4_4"), or an empty view for any other number.
std::string_view withdrawn_type_name(uint32_t type_number);

// The layout of a known type.
const TypeLayout& type_layout(TensorType type);

// The type with this name, upper or lower case, or nothing.
std::optional<TensorType> type_from_name(std::string_view name);

}  // namespace sluice::gguf
