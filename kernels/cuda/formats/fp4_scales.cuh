// The 8-bit float scales of MXFP4 and NVFP4, halved (kernels/reference/format_fp4.cc).
#pragma once

#include <cstdint>

namespace sluice::kernels::cuda {

// 2^(e - 128); e = 0 and 1 are subnormals.
__device__ inline float half_of_e8m0(uint32_t e) {
  return __uint_as_float(e < 2 ? 0x00200000u << e : (e - 1) << 23);
}

// Exponent 4 bits, bias 7, mantissa 3; 0x7F means 0, and the top bit is ignored otherwise.
__device__ inline float half_of_ue4m3(uint32_t code) {
  const uint32_t exponent = code >> 3 & 15, mantissa = code & 7;
  const float subnormal = static_cast<float>(mantissa) * 0x1p-10f;
  const float normal = __uint_as_float((exponent + 119) << 23 | mantissa << 20);
  return code == 0x7F ? 0.0f : exponent == 0 ? subnormal : normal;
}

}  // namespace sluice::kernels::cuda
