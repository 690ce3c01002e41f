#include "kernels/reference/dequantize.h"

#include <stdexcept>
#include <string>

#include "kernels/format.h"

namespace sluice::kernels::reference {

void dequantize(gguf::TensorType type, const std::byte* blocks, int64_t n_values, float* values) {
  const Format& format = format_of(type);
  if (n_values < 0 || n_values % format.layout->block_values != 0)
    throw std::invalid_argument("Cannot dequantise " + std::to_string(n_values) + " values of type " +
                                std::string(format.layout->name) + ": the number must be a multiple of its block of " +
                                std::to_string(format.layout->block_values) + ".");
  format.dequantize(blocks, n_values, values);
}

}  // namespace sluice::kernels::reference
