// The types without blocks: each value stands alone, little-endian, and is converted to the nearest float.
//
//   F32 4 bytes | F16 2 | BF16 2 | F64 8 | I8 1 | I16 2 | I32 4 | I64 8
#include "kernels/reference/block.h"
#include "kernels/reference/dequantize.h"
#include "kernels/reference/half.h"
#include "kernels/reference/quantize.h"

namespace sluice::kernels::reference {

template <class Number>
static void convert(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values; ++i) values[i] = static_cast<float>(load_block<Number>(blocks, i));
}

void dequantize_f32(const std::byte* blocks, int64_t n_values, float* values) {
  if (n_values > 0) std::memcpy(values, blocks, static_cast<size_t>(n_values) * sizeof(float));
}

void dequantize_f16(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values; ++i) values[i] = f16_to_f32(load_block<uint16_t>(blocks, i));
}

void dequantize_bf16(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values; ++i) values[i] = bf16_to_f32(load_block<uint16_t>(blocks, i));
}

void dequantize_f64(const std::byte* blocks, int64_t n_values, float* values) {
  convert<double>(blocks, n_values, values);
}
void dequantize_i8(const std::byte* blocks, int64_t n_values, float* values) {
  convert<int8_t>(blocks, n_values, values);
}
void dequantize_i16(const std::byte* blocks, int64_t n_values, float* values) {
  convert<int16_t>(blocks, n_values, values);
}
void dequantize_i32(const std::byte* blocks, int64_t n_values, float* values) {
  convert<int32_t>(blocks, n_values, values);
}
void dequantize_i64(const std::byte* blocks, int64_t n_values, float* values) {
  convert<int64_t>(blocks, n_values, values);
}

void quantize_f32(const float* values, int64_t n_values, std::byte* blocks) {
  if (n_values > 0) std::memcpy(blocks, values, static_cast<size_t>(n_values) * sizeof(float));
}

void quantize_f16(const float* values, int64_t n_values, std::byte* blocks) {
  for (int64_t i = 0; i < n_values; ++i) store_block(f32_to_f16(values[i]), blocks, i);
}

void quantize_bf16(const float* values, int64_t n_values, std::byte* blocks) {
  for (int64_t i = 0; i < n_values; ++i) store_block(f32_to_bf16(values[i]), blocks, i);
}

}  // namespace sluice::kernels::reference
