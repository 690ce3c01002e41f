// MXFP4 and NVFP4: 4-bit floats (sign, 2 bits of exponent, 1 of mantissa) under 8-bit float scales.
//
//   MXFP4  17 bytes, 32 values | scale e8m0 | q 16                | value = 2^(e - 128) * table[q]
//            q: values 0 to 15 in the low nibbles, 16 to 31 in the high ones
//   NVFP4  36 bytes, 64 values | scale ue4m3 x 4 | q 32           | value = scale/2 * table[q]
//            16 values a scale, in 8 bytes of q: the first 8 in the low nibbles, the rest in the high ones
//
// The table holds twice the 4-bit floats {0, 0.5, 1, 1.5, 2, 3, 4, 6} so that it is whole numbers; the scales are
// halved for it. A code with only the sign set is plain zero.
//   e8m0:  an exponent alone, 2^(e - 127); halved, e = 0 and 1 are the subnormals 2^-128 and 2^-127. 255 is no NaN here.
//   ue4m3: exponent 4 bits, bias 7 | mantissa 3; subnormals; 0x7F (its NaN) means 0, and the top bit is ignored otherwise.
#include "kernels/reference/block.h"
#include "kernels/reference/dequantize.h"

namespace sluice::kernels::reference {

namespace {

struct BlockMXFP4 {
  uint8_t scale;
  uint8_t q[16];
};
struct BlockNVFP4 {
  uint8_t scales[4];
  uint8_t q[32];
};
static_assert(sizeof(BlockMXFP4) == 17 && sizeof(BlockNVFP4) == 36);

constexpr int8_t kFp4Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

float half_of_e8m0(uint8_t e) {
  const uint32_t bits = e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23;
  return std::bit_cast<float>(bits);
}

float half_of_ue4m3(uint8_t code) {
  if (code == 0x7F) return 0;
  const uint32_t exponent = code >> 3 & 15, mantissa = code & 7;
  if (exponent == 0) return static_cast<float>(mantissa) * 0x1p-10f;
  return std::bit_cast<float>((exponent - 8 + 127) << 23 | mantissa << 20);
}

}  // namespace

void dequantize_mxfp4(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / 32; ++i) {
    const auto block = load_block<BlockMXFP4>(blocks, i);
    const float scale = half_of_e8m0(block.scale);
    for (int v = 0; v < 32; ++v)
      *values++ = scale * static_cast<float>(kFp4Doubled[block.q[v % 16] >> (v / 16 * 4) & 15]);
  }
}

void dequantize_nvfp4(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / 64; ++i) {
    const auto block = load_block<BlockNVFP4>(blocks, i);
    for (int v = 0; v < 64; ++v) {
      const int q = block.q[v / 16 * 8 + v % 8] >> (v / 8 % 2 * 4) & 15;
      *values++ = half_of_ue4m3(block.scales[v / 16]) * static_cast<float>(kFp4Doubled[q]);
    }
  }
}

}  // namespace sluice::kernels::reference
