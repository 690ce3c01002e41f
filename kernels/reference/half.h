// Conversions between 32-bit floats and the two 16-bit ones.
//
//   F16  (IEEE 754 binary16):  sign 1 | exponent 5, bias 15 | mantissa 10
//   BF16 (the top half of F32): sign 1 | exponent 8, bias 127 | mantissa 7
//
// Widening is exact. Narrowing rounds to the nearest, ties to even, with subnormals; what is too large becomes
// infinity. A NaN stays a NaN, made quiet, with the top of its payload. x86's F16C instructions give the same bits.
#pragma once

#include <bit>
#include <cstdint>

namespace sluice::kernels::reference {

constexpr float f16_to_f32(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1F;
  const uint32_t mantissa = half & 0x3FF;
  if (exponent == 0) {  // zero and the subnormals: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  if (exponent == 31) {
    const uint32_t quiet = mantissa != 0 ? 0x400000u : 0;
    return std::bit_cast<float>(sign | 0x7F800000u | quiet | mantissa << 13);
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

constexpr uint16_t f32_to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000;
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return static_cast<uint16_t>(sign | 0x7E00 | (magnitude >> 13 & 0x3FF));  // NaN
  if (magnitude >= 0x47800000) return static_cast<uint16_t>(sign | 0x7C00);  // 65536 and more
  if (magnitude >= 0x38800000) {  // 2^-14 and more: a normal number; the carry of the rounding may reach the exponent
    const uint32_t rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
    return static_cast<uint16_t>(sign | (rounded - (112u << 23)) >> 13);
  }
  const uint32_t shift = 126 - (magnitude >> 23);  // the significand counted in units of 2^-24
  if (shift > 24) return static_cast<uint16_t>(sign);
  const uint32_t significand = (magnitude & 0x7FFFFF) | 0x800000;
  const uint32_t half_unit = 1u << (shift - 1);
  const uint32_t rest = significand & (2 * half_unit - 1);
  const uint32_t quotient = significand >> shift;
  const uint32_t up = rest > half_unit || (rest == half_unit && (quotient & 1) != 0);
  return static_cast<uint16_t>(sign | (quotient + up));
}

constexpr float bf16_to_f32(uint16_t bf16) {
  return std::bit_cast<float>(static_cast<uint32_t>(bf16) << 16);
}

constexpr uint16_t f32_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

}  // namespace sluice::kernels::reference
