#include "kernels/format.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "kernels/reference/dequantize.h"

#if defined(__x86_64__)
#include "kernels/cpu/avx2/formats.h"
#include "kernels/cpu/avx512/formats.h"
#define SLUICE_KERNELS(name)                   \
  Kernels {                                    \
    avx2::multiply_##name, avx2::unpack_##name \
  }
#define SLUICE_FLOAT_KERNELS(name) \
  Kernels {                        \
    avx2::multiply_##name          \
  }
#else
#define SLUICE_KERNELS(name) \
  Kernels {}
#define SLUICE_FLOAT_KERNELS(name) \
  Kernels {}
#endif

namespace sluice::kernels {

using enum ActivationFormat;
using gguf::TensorType;

namespace {

// What AVX2 has for a format.
struct Kernels {
  RowGroupProduct* row_group_product = nullptr;
  UnpackCodes* unpack_codes = nullptr;
};

// What AVX-512 has for a format at its two levels, a line each. Where a kernel is null, or the format has no line, the level
// below serves.
struct KernelsWithAvx512 {
  RowGroupProduct *product = nullptr, *product_vnni = nullptr;
  UnpackCodes *unpack = nullptr, *unpack_vnni = nullptr;
};
KernelsWithAvx512 kernels_with_avx512(TensorType type) {
#if defined(__x86_64__)
  switch (type) {
    case TensorType::Q4_0:
      return {.product = avx512::multiply_q4_0, .product_vnni = avx512_vnni::multiply_q4_0};
    case TensorType::Q4_1:
      return {.product = avx512::multiply_q4_1, .product_vnni = avx512_vnni::multiply_q4_1};
    case TensorType::Q5_0:
      return {.product = avx512::multiply_q5_0, .product_vnni = avx512_vnni::multiply_q5_0};
    case TensorType::Q5_1:
      return {.product = avx512::multiply_q5_1, .product_vnni = avx512_vnni::multiply_q5_1};
    case TensorType::Q8_0:
      return {.product = avx512::multiply_q8_0, .product_vnni = avx512_vnni::multiply_q8_0};
    case TensorType::Q8_1:
      return {.product = avx512::multiply_q8_1, .product_vnni = avx512_vnni::multiply_q8_1};
    case TensorType::IQ4_NL:
      return {.product = avx512::multiply_iq4_nl, .product_vnni = avx512_vnni::multiply_iq4_nl};
    case TensorType::MXFP4:
      return {.product = avx512::multiply_mxfp4, .product_vnni = avx512_vnni::multiply_mxfp4};
    case TensorType::Q2_K:
      return {.product = avx512::multiply_q2_k, .product_vnni = avx512_vnni::multiply_q2_k};
    case TensorType::Q3_K:
      return {.product = avx512::multiply_q3_k, .product_vnni = avx512_vnni::multiply_q3_k};
    case TensorType::Q4_K:
      return {.product = avx512::multiply_q4_k, .product_vnni = avx512_vnni::multiply_q4_k};
    case TensorType::Q5_K:
      return {.product = avx512::multiply_q5_k, .product_vnni = avx512_vnni::multiply_q5_k};
    case TensorType::Q6_K:
      return {.product = avx512::multiply_q6_k, .product_vnni = avx512_vnni::multiply_q6_k};
    case TensorType::Q8_K:
      return {.product = avx512::multiply_q8_k, .product_vnni = avx512_vnni::multiply_q8_k};
    case TensorType::TQ1_0:
      return {.product = avx512::multiply_tq1_0, .product_vnni = avx512_vnni::multiply_tq1_0};
    case TensorType::TQ2_0:
      return {.product = avx512::multiply_tq2_0, .product_vnni = avx512_vnni::multiply_tq2_0};
    case TensorType::Q1_0:
      return {.product = avx512::multiply_q1_0, .product_vnni = avx512_vnni::multiply_q1_0};
    case TensorType::IQ1_S:
      return {.product = avx512::multiply_iq1_s, .product_vnni = avx512_vnni::multiply_iq1_s};
    case TensorType::IQ1_M:
      return {.product = avx512::multiply_iq1_m, .product_vnni = avx512_vnni::multiply_iq1_m};
    case TensorType::IQ2_XXS:
      return {.product = avx512::multiply_iq2_xxs, .product_vnni = avx512_vnni::multiply_iq2_xxs};
    case TensorType::IQ2_XS:
      return {.product = avx512::multiply_iq2_xs, .product_vnni = avx512_vnni::multiply_iq2_xs};
    case TensorType::IQ2_S:
      return {.product_vnni = avx512_vnni::multiply_iq2_s};
    case TensorType::IQ3_XXS:
      return {.product = avx512::multiply_iq3_xxs, .product_vnni = avx512_vnni::multiply_iq3_xxs};
    case TensorType::IQ3_S:
      return {.product = avx512::multiply_iq3_s, .product_vnni = avx512_vnni::multiply_iq3_s};
    case TensorType::IQ4_XS:
      return {.product = avx512::multiply_iq4_xs, .product_vnni = avx512_vnni::multiply_iq4_xs};
    default:
      break;
  }
#endif
  (void)type;
  return {};
}

// Codings, by the largest code and the values that share a scale.
constexpr Coding unsigned_codes(int largest, int group, Coding::Mins mins) {
  return {false, largest, group, mins};
}
constexpr Coding kSigned = {true, 127, 32, Coding::Mins::None};

std::span<const Format> table() {
  constexpr auto Whole = Coding::Mins::Whole, Float = Coding::Mins::Float;
  auto row = [](TensorType type, ActivationFormat activation, reference::DequantizeFunction* dequantize,
                Kernels with_avx2 = {}, Coding coding = {}) {
    const KernelsWithAvx512 wide = kernels_with_avx512(type);
    return Format{type,
                  &gguf::type_layout(type),
                  activation,
                  dequantize,
                  {nullptr, with_avx2.row_group_product, wide.product, wide.product_vnni},
                  {nullptr, with_avx2.unpack_codes, wide.unpack, wide.unpack_vnni},
                  coding};
  };
  static const std::array kFormats = {
      row(TensorType::F32, F32, reference::dequantize_f32, SLUICE_FLOAT_KERNELS(f32)),
      row(TensorType::F16, F32, reference::dequantize_f16, SLUICE_FLOAT_KERNELS(f16)),
      row(TensorType::Q4_0, Per32, reference::dequantize_q4_0, SLUICE_KERNELS(q4_0), unsigned_codes(15, 32, Whole)),
      row(TensorType::Q4_1, Per32, reference::dequantize_q4_1, SLUICE_KERNELS(q4_1), unsigned_codes(15, 32, Float)),
      row(TensorType::Q5_0, Per32, reference::dequantize_q5_0, SLUICE_KERNELS(q5_0), unsigned_codes(31, 32, Whole)),
      row(TensorType::Q5_1, Per32, reference::dequantize_q5_1, SLUICE_KERNELS(q5_1), unsigned_codes(31, 32, Float)),
      row(TensorType::Q8_0, Per32, reference::dequantize_q8_0, SLUICE_KERNELS(q8_0), kSigned),
      row(TensorType::Q8_1, Per32, reference::dequantize_q8_1, SLUICE_KERNELS(q8_1), kSigned),
      row(TensorType::Q2_K, Per256, reference::dequantize_q2_k, SLUICE_KERNELS(q2_k), unsigned_codes(3, 16, Float)),
      row(TensorType::Q3_K, Per256, reference::dequantize_q3_k, SLUICE_KERNELS(q3_k), unsigned_codes(7, 16, Whole)),
      row(TensorType::Q4_K, Per256, reference::dequantize_q4_k, SLUICE_KERNELS(q4_k), unsigned_codes(15, 32, Float)),
      row(TensorType::Q5_K, Per256, reference::dequantize_q5_k, SLUICE_KERNELS(q5_k), unsigned_codes(31, 32, Float)),
      row(TensorType::Q6_K, Per256, reference::dequantize_q6_k, SLUICE_KERNELS(q6_k), unsigned_codes(63, 16, Whole)),
      row(TensorType::Q8_K, Per256, reference::dequantize_q8_k, SLUICE_KERNELS(q8_k), kSigned),
      row(TensorType::IQ2_XXS, Per256, reference::dequantize_iq2_xxs, SLUICE_KERNELS(iq2_xxs),
          unsigned_codes(86, 32, Whole)),
      row(TensorType::IQ2_XS, Per256, reference::dequantize_iq2_xs, SLUICE_KERNELS(iq2_xs),
          unsigned_codes(86, 16, Whole)),
      row(TensorType::IQ3_XXS, Per256, reference::dequantize_iq3_xxs, SLUICE_KERNELS(iq3_xxs),
          unsigned_codes(124, 32, Whole)),
      row(TensorType::IQ1_S, Per256, reference::dequantize_iq1_s, SLUICE_KERNELS(iq1_s), unsigned_codes(2, 32, Whole)),
      row(TensorType::IQ4_NL, Per32, reference::dequantize_iq4_nl, SLUICE_KERNELS(iq4_nl), kSigned),
      row(TensorType::IQ3_S, Per256, reference::dequantize_iq3_s, SLUICE_KERNELS(iq3_s), unsigned_codes(30, 32, Whole)),
      row(TensorType::IQ2_S, Per256, reference::dequantize_iq2_s, SLUICE_KERNELS(iq2_s), unsigned_codes(86, 16, Whole)),
      row(TensorType::IQ4_XS, Per256, reference::dequantize_iq4_xs, SLUICE_KERNELS(iq4_xs), kSigned),
      row(TensorType::I8, None, reference::dequantize_i8),
      row(TensorType::I16, None, reference::dequantize_i16),
      row(TensorType::I32, None, reference::dequantize_i32),
      row(TensorType::I64, None, reference::dequantize_i64),
      row(TensorType::F64, None, reference::dequantize_f64),
      row(TensorType::IQ1_M, Per256, reference::dequantize_iq1_m, SLUICE_KERNELS(iq1_m), unsigned_codes(18, 16, Whole)),
      row(TensorType::BF16, F32, reference::dequantize_bf16, SLUICE_FLOAT_KERNELS(bf16)),
      row(TensorType::TQ1_0, Per256, reference::dequantize_tq1_0, SLUICE_KERNELS(tq1_0), unsigned_codes(2, 32, Whole)),
      row(TensorType::TQ2_0, Per256, reference::dequantize_tq2_0, SLUICE_KERNELS(tq2_0), unsigned_codes(3, 32, Whole)),
      row(TensorType::MXFP4, Per32, reference::dequantize_mxfp4, SLUICE_KERNELS(mxfp4), unsigned_codes(24, 32, Whole)),
      row(TensorType::NVFP4, Per32, reference::dequantize_nvfp4),
      row(TensorType::Q1_0, Per32, reference::dequantize_q1_0, SLUICE_KERNELS(q1_0), unsigned_codes(2, 32, Whole)),
  };
  return kFormats;
}

}  // namespace

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
