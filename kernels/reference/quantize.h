// Floats into blocks of a tensor type, by simple rounding: what tests and small tools need to make weights.
//
// Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 BF16 and F16 give the bytes of the Python package `gguf`. The K-quants and IQ formats, whose
// quantisers search for good scales, are not here.
#pragma once

#include <cstddef>
#include <cstdint>

#include "gguf/tensor_type.h"

namespace sluice::kernels::reference {

// True for the types that quantize() can write: F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q8_1 Q8_K.
bool can_quantize(gguf::TensorType type);

// Writes n_values values as n_values / block_values blocks. Throws std::invalid_argument for another type, for a number
// of values that is no multiple of the block, and, except for F32 F16 BF16, for values that are not finite or whose
// block has a scale that f16 cannot hold. (The sum in a block of Q8_1 may become infinite before its scale does.)
void quantize(gguf::TensorType type, const float* values, int64_t n_values, std::byte* blocks);

// The same for one format each, unchecked: values in blocks must be finite.
using QuantizeFunction = void(const float* values, int64_t n_values, std::byte* blocks);

QuantizeFunction quantize_f32, quantize_f16, quantize_bf16;  // format_plain.cc
QuantizeFunction quantize_q4_0, quantize_q4_1, quantize_q5_0, quantize_q5_1, quantize_q8_0,
    quantize_q8_1;               // format_q.cc
QuantizeFunction quantize_q8_k;  // format_k.cc

}  // namespace sluice::kernels::reference
