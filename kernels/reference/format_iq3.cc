// IQ3_XXS and IQ3_S: super-blocks of 256 values; each 4 values are a point of a grid of magnitudes, with signs apart.
//
//   IQ3_XXS   98 bytes | scale f16 | q 64 | u32 x 8
//               q[e]: the grid index of values 4e to 4e+3
//               u32 of values 32g to 32g+31: 7 bits of signs for each 8 values from bit 0 on, s in bits 28-31
//               value = scale*(s + 1/2)/2 * grid * sign
//   IQ3_S    110 bytes | scale f16 | q 64 | high 8 | signs 32 | scales 4
//               bit e of `high` stands above q[e]; bit v of `signs` is the sign of value v
//               nibble g of `scales` is s of values 32g to 32g+31
//               value = scale*(2s + 1) * grid * sign
//
// A set sign bit is minus, and the eighth of 7 stored sign bits makes their number even.
#include "kernels/reference/block.h"
#include "kernels/reference/dequantize.h"
#include "kernels/reference/half.h"
#include "kernels/reference/iq_grids.h"

namespace sluice::kernels::reference {

namespace {

constexpr int kValues = 256;

struct BlockIQ3_XXS {
  uint16_t scale;
  uint8_t q[64];
  uint16_t signs_and_scale[8][2];  // u32 each, kept in halves so that the block has no padding
};
struct BlockIQ3_S {
  uint16_t scale;
  uint8_t q[64];
  uint8_t high[8];
  uint8_t signs[32];
  uint8_t scales[4];
};
static_assert(sizeof(BlockIQ3_XXS) == 98 && sizeof(BlockIQ3_S) == 110);

}  // namespace

void dequantize_iq3_xxs(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockIQ3_XXS>(blocks, i);
    const float scale = f16_to_f32(block.scale);
    for (int v = 0; v < kValues; ++v) {
      const uint16_t* halves = block.signs_and_scale[v / 32];
      const uint32_t signs_and_scale = halves[0] | static_cast<uint32_t>(halves[1]) << 16;
      const uint32_t signs = iq_signs(signs_and_scale >> (v / 8 % 4 * 7) & 127);
      const float sub_scale = scale * (0.5f + static_cast<float>(signs_and_scale >> 28)) * 0.5f;
      const float magnitude = static_cast<float>(iq3_xxs_value(kGridIq3Xxs[block.q[v / 4]], v % 4));
      *values++ = sub_scale * ((signs >> (v % 8) & 1) != 0 ? -magnitude : magnitude);
    }
  }
}

void dequantize_iq3_s(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockIQ3_S>(blocks, i);
    const float scale = f16_to_f32(block.scale);
    for (int v = 0; v < kValues; ++v) {
      const int entry = v / 4;
      const int index = block.q[entry] | (block.high[entry / 8] >> (entry % 8) & 1) << 8;
      const float sub_scale = scale * static_cast<float>(2 * (block.scales[v / 64] >> (v / 32 % 2 * 4) & 15) + 1);
      const float magnitude = static_cast<float>(iq3_s_value(kGridIq3S[index], v % 4));
      *values++ = sub_scale * ((block.signs[v / 8] >> (v % 8) & 1) != 0 ? -magnitude : magnitude);
    }
  }
}

}  // namespace sluice::kernels::reference
