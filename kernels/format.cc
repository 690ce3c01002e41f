#include "kernels/format.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "kernels/reference/dequantize.h"

#if defined(__x86_64__)
#include "kernels/cpu/avx2/row_products.h"
#define SLUICE_AVX2(function) avx2::function
#else
#define SLUICE_AVX2(function) nullptr
#endif

namespace sluice::kernels {

using enum ActivationFormat;
using gguf::TensorType;

static std::span<const Format> table() {
  auto row = [](TensorType type, ActivationFormat activation, reference::DequantizeFunction* dequantize,
                RowProduct* row_product_avx2 = nullptr) {
    return Format{type, &gguf::type_layout(type), activation, dequantize, {nullptr, row_product_avx2, nullptr}};
  };
  static const std::array kFormats = {
      row(TensorType::F32, F32, reference::dequantize_f32),
      row(TensorType::F16, F32, reference::dequantize_f16),
      row(TensorType::Q4_0, Per32, reference::dequantize_q4_0, SLUICE_AVX2(multiply_row_q4_0)),
      row(TensorType::Q4_1, Per32, reference::dequantize_q4_1, SLUICE_AVX2(multiply_row_q4_1)),
      row(TensorType::Q5_0, Per32, reference::dequantize_q5_0, SLUICE_AVX2(multiply_row_q5_0)),
      row(TensorType::Q5_1, Per32, reference::dequantize_q5_1, SLUICE_AVX2(multiply_row_q5_1)),
      row(TensorType::Q8_0, Per32, reference::dequantize_q8_0, SLUICE_AVX2(multiply_row_q8_0)),
      row(TensorType::Q8_1, Per32, reference::dequantize_q8_1),
      row(TensorType::Q2_K, Per256, reference::dequantize_q2_k, SLUICE_AVX2(multiply_row_q2_k)),
      row(TensorType::Q3_K, Per256, reference::dequantize_q3_k, SLUICE_AVX2(multiply_row_q3_k)),
      row(TensorType::Q4_K, Per256, reference::dequantize_q4_k, SLUICE_AVX2(multiply_row_q4_k)),
      row(TensorType::Q5_K, Per256, reference::dequantize_q5_k, SLUICE_AVX2(multiply_row_q5_k)),
      row(TensorType::Q6_K, Per256, reference::dequantize_q6_k, SLUICE_AVX2(multiply_row_q6_k)),
      row(TensorType::Q8_K, Per256, reference::dequantize_q8_k),
      row(TensorType::IQ2_XXS, Per256, reference::dequantize_iq2_xxs, SLUICE_AVX2(multiply_row_iq2_xxs)),
      row(TensorType::IQ2_XS, Per256, reference::dequantize_iq2_xs, SLUICE_AVX2(multiply_row_iq2_xs)),
      row(TensorType::IQ3_XXS, Per256, reference::dequantize_iq3_xxs, SLUICE_AVX2(multiply_row_iq3_xxs)),
      row(TensorType::IQ1_S, Per256, reference::dequantize_iq1_s, SLUICE_AVX2(multiply_row_iq1_s)),
      row(TensorType::IQ4_NL, Per32, reference::dequantize_iq4_nl, SLUICE_AVX2(multiply_row_iq4_nl)),
      row(TensorType::IQ3_S, Per256, reference::dequantize_iq3_s, SLUICE_AVX2(multiply_row_iq3_s)),
      row(TensorType::IQ2_S, Per256, reference::dequantize_iq2_s, SLUICE_AVX2(multiply_row_iq2_s)),
      row(TensorType::IQ4_XS, Per256, reference::dequantize_iq4_xs, SLUICE_AVX2(multiply_row_iq4_xs)),
      row(TensorType::I8, None, reference::dequantize_i8),
      row(TensorType::I16, None, reference::dequantize_i16),
      row(TensorType::I32, None, reference::dequantize_i32),
      row(TensorType::I64, None, reference::dequantize_i64),
      row(TensorType::F64, None, reference::dequantize_f64),
      row(TensorType::IQ1_M, Per256, reference::dequantize_iq1_m, SLUICE_AVX2(multiply_row_iq1_m)),
      row(TensorType::BF16, F32, reference::dequantize_bf16),
      row(TensorType::TQ1_0, Per256, reference::dequantize_tq1_0),
      row(TensorType::TQ2_0, Per256, reference::dequantize_tq2_0, SLUICE_AVX2(multiply_row_tq2_0)),
      row(TensorType::MXFP4, Per32, reference::dequantize_mxfp4, SLUICE_AVX2(multiply_row_mxfp4)),
      row(TensorType::NVFP4, Per32, reference::dequantize_nvfp4),
      row(TensorType::Q1_0, Per32, reference::dequantize_q1_0),
  };
  return kFormats;
}

std::span<const Format> all_formats() {
  return table();
}

const Format* find_format(TensorType type) {
  auto found = std::ranges::find(table(), type, &Format::type);
  return found == table().end() ? nullptr : &*found;
}

const Format& format_of(TensorType type) {
  if (const Format* format = find_format(type)) return *format;
  throw std::invalid_argument("No format is known for tensor type number " +
                              std::to_string(static_cast<uint32_t>(type)) + ".");
}

}  // namespace sluice::kernels
