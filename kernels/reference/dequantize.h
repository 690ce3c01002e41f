// What the bytes of a tensor mean: every GGUF tensor type as 32-bit floats.
//
// This is the definition that faster kernels are tested against, and it agrees bit for bit with the Python package
// `gguf`. Blocks may lie at any address. A row is a whole number of blocks, so `n_values` is a multiple of the type's
// block_values.
#pragma once

#include <cstddef>
#include <cstdint>

#include "gguf/tensor_type.h"

namespace sluice::kernels::reference {

// Writes the `n_values` values of `blocks` to `values`. Throws std::invalid_argument when n_values is negative or no
// multiple of the block.
void dequantize(gguf::TensorType type, const std::byte* blocks, int64_t n_values, float* values);

// The same for one format each, unchecked: these stand in the table of kernels/format.h.
using DequantizeFunction = void(const std::byte* blocks, int64_t n_values, float* values);

// format_plain.cc
DequantizeFunction dequantize_f32, dequantize_f16, dequantize_bf16, dequantize_f64;
DequantizeFunction dequantize_i8, dequantize_i16, dequantize_i32, dequantize_i64;
// format_q.cc
DequantizeFunction dequantize_q4_0, dequantize_q4_1, dequantize_q5_0, dequantize_q5_1, dequantize_q8_0, dequantize_q8_1;
// format_k.cc
DequantizeFunction dequantize_q2_k, dequantize_q3_k, dequantize_q4_k, dequantize_q5_k, dequantize_q6_k, dequantize_q8_k;
// format_iq1.cc, dequantize_iq2.cc, dequantize_iq3.cc, dequantize_iq4.cc
DequantizeFunction dequantize_iq1_s, dequantize_iq1_m;
DequantizeFunction dequantize_iq2_xxs, dequantize_iq2_xs, dequantize_iq2_s;
DequantizeFunction dequantize_iq3_xxs, dequantize_iq3_s;
DequantizeFunction dequantize_iq4_nl, dequantize_iq4_xs;
// format_tq.cc
DequantizeFunction dequantize_tq1_0, dequantize_tq2_0;
// format_fp4.cc
DequantizeFunction dequantize_mxfp4, dequantize_nvfp4;

}  // namespace sluice::kernels::reference
