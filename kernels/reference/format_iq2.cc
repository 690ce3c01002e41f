// IQ2_XXS, IQ2_XS and IQ2_S: super-blocks of 256 values; each 8 values are a point of a grid of magnitudes, with signs
// apart.
//
//   IQ2_XXS  66 bytes | scale f16 | groups of 32 values: 8 x { index u8 x 4, u32 }
//              u32: 7 bits of signs for each of the 4 entries from bit 0 on, s in bits 28-31
//   IQ2_XS   74 bytes | scale f16 | q u16 x 32 | scales 8
//              q: bits 0-8 the grid index, bits 9-15 the 7 bits of signs; scales: nibble j is s of values 16j to 16j+15
//   IQ2_S    82 bytes | scale f16 | q 32 | signs 32 | high 8 | scales 8
//              2 bits of high[e/4] at 2*(e%4) stand above q[e]; signs has all 8 bits; scales as in IQ2_XS
//
//   value = scale*(s + 1/2)/4 * grid * sign; a set bit is minus, and the eighth of 7 stored sign bits makes their
//   number even.
#include "kernels/reference/block.h"
#include "kernels/reference/dequantize.h"
#include "kernels/reference/half.h"
#include "kernels/reference/iq_grids.h"

namespace sluice::kernels::reference {

namespace {

constexpr int kValues = 256;

struct BlockIQ2_XXS {
  uint16_t scale;
  struct {
    uint8_t index[4];
    uint16_t signs_and_scale[2];  // one u32, kept in halves so that the block has no padding
  } groups[8];
};
struct BlockIQ2_XS {
  uint16_t scale;
  uint16_t q[32];
  uint8_t scales[8];
};
struct BlockIQ2_S {
  uint16_t scale;
  uint8_t q[32];
  uint8_t signs[32];
  uint8_t high[8];
  uint8_t scales[8];
};
static_assert(sizeof(BlockIQ2_XXS) == 66 && sizeof(BlockIQ2_XS) == 74 && sizeof(BlockIQ2_S) == 82);

float sub_scale(float scale, uint32_t s) {
  return scale * (0.5f + static_cast<float>(s)) * 0.25f;
}

float signed_value(uint16_t entry, uint32_t signs, int i) {
  const float magnitude = static_cast<float>(iq2_value(entry, i));
  return (signs >> i & 1) != 0 ? -magnitude : magnitude;
}

}  // namespace

void dequantize_iq2_xxs(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockIQ2_XXS>(blocks, i);
    const float scale = f16_to_f32(block.scale);
    for (int v = 0; v < kValues; ++v) {
      const auto& group = block.groups[v / 32];
      const int entry = v / 8 % 4;
      const uint32_t signs_and_scale = group.signs_and_scale[0] | static_cast<uint32_t>(group.signs_and_scale[1]) << 16;
      const uint32_t signs = iq_signs(signs_and_scale >> (7 * entry) & 127);
      *values++ = sub_scale(scale, signs_and_scale >> 28) * signed_value(kGridIq2Xxs[group.index[entry]], signs, v % 8);
    }
  }
}

void dequantize_iq2_xs(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockIQ2_XS>(blocks, i);
    const float scale = f16_to_f32(block.scale);
    for (int v = 0; v < kValues; ++v) {
      const uint32_t q = block.q[v / 8];
      const uint32_t s = block.scales[v / 32] >> (v / 16 % 2 * 4) & 15;
      *values++ = sub_scale(scale, s) * signed_value(kGridIq2Xs[q & 511], iq_signs(q >> 9), v % 8);
    }
  }
}

void dequantize_iq2_s(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockIQ2_S>(blocks, i);
    const float scale = f16_to_f32(block.scale);
    for (int v = 0; v < kValues; ++v) {
      const int entry = v / 8;
      const int index = block.q[entry] | (block.high[entry / 4] >> (entry % 4 * 2) & 3) << 8;
      const uint32_t s = block.scales[v / 32] >> (v / 16 % 2 * 4) & 15;
      *values++ = sub_scale(scale, s) * signed_value(kGridIq2S[index], block.signs[entry], v % 8);
    }
  }
}

}  // namespace sluice::kernels::reference
