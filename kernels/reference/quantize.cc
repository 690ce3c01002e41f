#include "kernels/reference/quantize.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "kernels/format.h"

namespace sluice::kernels::reference {

using gguf::TensorType;

static QuantizeFunction* find_quantizer(TensorType type) {
  switch (type) {
    case TensorType::F32:
      return quantize_f32;
    case TensorType::F16:
      return quantize_f16;
    case TensorType::BF16:
      return quantize_bf16;
    case TensorType::Q4_0:
      return quantize_q4_0;
    case TensorType::Q4_1:
      return quantize_q4_1;
    case TensorType::Q5_0:
      return quantize_q5_0;
    case TensorType::Q5_1:
      return quantize_q5_1;
    case TensorType::Q8_0:
      return quantize_q8_0;
    case TensorType::Q8_1:
      return quantize_q8_1;
    case TensorType::Q8_K:
      return quantize_q8_k;
    default:
      return nullptr;
  }
}

bool can_quantize(TensorType type) {
  return find_quantizer(type) != nullptr;
}

void quantize(TensorType type, const float* values, int64_t n_values, std::byte* blocks) {
  const Format& format = format_of(type);
  const std::string name(format.layout->name);
  QuantizeFunction* quantizer = find_quantizer(type);
  if (quantizer == nullptr)
    throw std::invalid_argument("Cannot quantise to " + name +
                                ": only F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1 and Q8_K can be written.");
  const int64_t block_values = format.layout->block_values;
  if (n_values < 0 || n_values % block_values != 0)
    throw std::invalid_argument("Cannot quantise " + std::to_string(n_values) + " values to " + name +
                                ": the number must be a multiple of its block of " + std::to_string(block_values) +
                                ".");
  if (block_values == 1) return quantizer(values, n_values, blocks);

  auto finite = [](float value) { return std::isfinite(value); };
  if (const float* bad = std::find_if_not(values, values + n_values, finite); bad != values + n_values)
    throw std::invalid_argument("Cannot quantise to " + name + ": value number " + std::to_string(bad - values) +
                                " is not finite.");
  quantizer(values, n_values, blocks);
  for (int64_t i = 0; i < n_values;
       i += block_values) {  // an infinite scale or offset makes a block that is not finite
    float decoded[256];
    format.dequantize(blocks + i / block_values * format.layout->block_bytes, block_values, decoded);
    if (!std::all_of(decoded, decoded + block_values, finite))
      throw std::invalid_argument("Cannot quantise to " + name + ": the values from number " + std::to_string(i) +
                                  " on are too large for the f16 scale of their block.");
  }
}

}  // namespace sluice::kernels::reference
