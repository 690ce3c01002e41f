// Blocks to floats for AVX2, with the bits of the reference: the formats that float products meet most.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice::kernels::avx2 {

void dequantize_f16(const std::byte* blocks, int64_t n_values, float* values);
void dequantize_bf16(const std::byte* blocks, int64_t n_values, float* values);
void dequantize_q4_0(const std::byte* blocks, int64_t n_values, float* values);
void dequantize_q8_0(const std::byte* blocks, int64_t n_values, float* values);
void dequantize_q4_k(const std::byte* blocks, int64_t n_values, float* values);
void dequantize_q5_k(const std::byte* blocks, int64_t n_values, float* values);
void dequantize_q6_k(const std::byte* blocks, int64_t n_values, float* values);

}  // namespace sluice::kernels::avx2
