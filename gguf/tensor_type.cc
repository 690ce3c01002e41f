#include "gguf/tensor_type.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <stdexcept>

namespace sluice::gguf {

// Block sizes as the format defines them; kernels/reference/ draws what lies inside each block. Q8_1 holds two half
// floats and 32 bytes, 36 in all; tables that say 40 describe an older layout with two full floats. It is an activation
// format and stands in no real file.
static constexpr std::array kLayouts = {
    TypeLayout{TensorType::F32, "F32", 1, 4},
    TypeLayout{TensorType::F16, "F16", 1, 2},
    TypeLayout{TensorType::Q4_0, "Q4_0", 32, 18},
    TypeLayout{TensorType::Q4_1, "Q4_1", 32, 20},
    TypeLayout{TensorType::Q5_0, "Q5_0", 32, 22},
    TypeLayout{TensorType::Q5_1, "Q5_1", 32, 24},
    TypeLayout{TensorType::Q8_0, "Q8_0", 32, 34},
    TypeLayout{TensorType::Q8_1, "Q8_1", 32, 36},
    TypeLayout{TensorType::Q2_K, "Q2_K", 256, 84},
    TypeLayout{TensorType::Q3_K, "Q3_K", 256, 110},
    TypeLayout{TensorType::Q4_K, "Q4_K", 256, 144},
    TypeLayout{TensorType::Q5_K, "Q5_K", 256, 176},
    TypeLayout{TensorType::Q6_K, "Q6_K", 256, 210},
    TypeLayout{TensorType::Q8_K, "Q8_K", 256, 292},
    TypeLayout{TensorType::IQ2_XXS, "IQ2_XXS", 256, 66},
    TypeLayout{TensorType::IQ2_XS, "IQ2_XS", 256, 74},
    TypeLayout{TensorType::IQ3_XXS, "IQ3_XXS", 256, 98},
    TypeLayout{TensorType::IQ1_S, "IQ1_S", 256, 50},
    TypeLayout{TensorType::IQ4_NL, "IQ4_NL", 32, 18},
    TypeLayout{TensorType::IQ3_S, "IQ3_S", 256, 110},
    TypeLayout{TensorType::IQ2_S, "IQ2_S", 256, 82},
    TypeLayout{TensorType::IQ4_XS, "IQ4_XS", 256, 136},
    TypeLayout{TensorType::I8, "I8", 1, 1},
    TypeLayout{TensorType::I16, "I16", 1, 2},
    TypeLayout{TensorType::I32, "I32", 1, 4},
    TypeLayout{TensorType::I64, "I64", 1, 8},
    TypeLayout{TensorType::F64, "F64", 1, 8},
    TypeLayout{TensorType::IQ1_M, "IQ1_M", 256, 56},
    TypeLayout{TensorType::BF16, "BF16", 1, 2},
    TypeLayout{TensorType::TQ1_0, "TQ1_0", 256, 54},
    TypeLayout{TensorType::TQ2_0, "TQ2_0", 256, 66},
    TypeLayout{TensorType::MXFP4, "MXFP4", 32, 17},
    TypeLayout{TensorType::NVFP4, "NVFP4", 64, 36},
    TypeLayout{TensorType::Q1_0, "Q1_0", 128, 18},
};

std::span<const TypeLayout> all_type_layouts() {
  return kLayouts;
}

const TypeLayout* find_type_layout(uint32_t type_number) {
  auto found = std::ranges::find(kLayouts, static_cast<TensorType>(type_number), &TypeLayout::type);
  return found == kLayouts.end() ? nullptr : &*found;
}

std::string_view withdrawn_type_name(uint32_t type_number) {
  switch (type_number) {
    case 4:
      return "Q4_2";
    case 5:
      return "Q4_3";
    case 31:
      return "Q4_0_4_4";
    case 32:
      return "Q4_0_4_8";
    case 33:
      return "Q4_0_8_8";
    case 36:
      return "IQ4_NL_4_4";
    case 37:
      return "IQ4_NL_4_8";
    case 38:
      return "IQ4_NL_8_8";
    default:
      return {};
  }
}

const TypeLayout& type_layout(TensorType type) {
  if (const TypeLayout* layout = find_type_layout(static_cast<uint32_t>(type))) return *layout;
  throw std::invalid_argument("type_layout was asked for a tensor type that the format does not have.");
}

std::optional<TensorType> type_from_name(std::string_view name) {
  auto same_letter = [](unsigned char a, unsigned char b) { return std::toupper(a) == std::toupper(b); };
  for (const TypeLayout& layout : kLayouts)
    if (std::ranges::equal(layout.name, name, same_letter)) return layout.type;
  return std::nullopt;
}

}  // namespace sluice::gguf
