#include "kernels/cpu/dequantize.h"

#include "kernels/cpu/dispatch.h"

#if defined(__x86_64__)
#include "kernels/cpu/avx2/dequantize.h"
#endif

namespace sluice::kernels {

#if defined(__x86_64__)
static Dequantize* find_avx2(gguf::TensorType type) {
  using gguf::TensorType;
  switch (type) {
    case TensorType::F16:
      return avx2::dequantize_f16;
    case TensorType::BF16:
      return avx2::dequantize_bf16;
    case TensorType::Q4_0:
      return avx2::dequantize_q4_0;
    case TensorType::Q8_0:
      return avx2::dequantize_q8_0;
    case TensorType::Q4_K:
      return avx2::dequantize_q4_k;
    case TensorType::Q5_K:
      return avx2::dequantize_q5_k;
    case TensorType::Q6_K:
      return avx2::dequantize_q6_k;
    default:
      return nullptr;
  }
}
#endif

ByIsa<Dequantize> dequantize_functions(const Format& format) {
  return {.reference = format.dequantize, .avx2 = SLUICE_X86(find_avx2(format.type))};
}

Dequantize* fast_dequantize(gguf::TensorType type) {
  return dequantize_functions(format_of(type)).at(chosen_isa());
}

}  // namespace sluice::kernels
