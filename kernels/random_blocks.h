// Random weights in the blocks of a format, for models and matrices that are made to be measured.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "gguf/tensor_type.h"

namespace sluice::kernels {

// Whether matrices of the type can be made: all that model files quantise weights to, F32, F16 and BF16. Not the
// integer types, nor F64 and the activation forms Q8_1 and Q8_K.
bool has_random_blocks(gguf::TensorType type);

// Fills `blocks`, a whole number of them, with weights that are finite and have a standard deviation of about
// `deviation` and a mean near zero. The codes are uniform over all that the format allows, and the scales of blocks
// differ. The same seed gives the same bytes on every machine. `deviation` is positive and so large that the format's
// scales can hold it (1e-4 is). Throws std::invalid_argument for a type that has no random weights, or a size that is
// no whole number of blocks.
void fill_random_blocks(gguf::TensorType type, float deviation, uint64_t seed, std::span<std::byte> blocks);

}  // namespace sluice::kernels
