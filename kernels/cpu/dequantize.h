// Blocks to floats, in the fastest way there is for a format.
#pragma once

#include <cstddef>
#include <cstdint>

#include "gguf/tensor_type.h"
#include "kernels/format.h"

namespace sluice::kernels {

using Dequantize = void(const std::byte* blocks, int64_t n_values, float* values);

// What Format::dequantize does, with the same bits: written for the chosen instruction set where there is such a
// function, else the reference. Throws std::invalid_argument for an unknown type.
Dequantize* fast_dequantize(gguf::TensorType type);

// The same for all instruction sets.
ByIsa<Dequantize> dequantize_functions(const Format& format);

}  // namespace sluice::kernels
