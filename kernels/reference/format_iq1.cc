// IQ1_S and IQ1_M: super-blocks of 256 values; each 8 values are one of 2048 points of a ternary grid, moved by +-1/8.
//
//   IQ1_S  50 bytes | scale f16 | q 32 | high u16 x 8
//            q[e] and 3 bits of high[e/4] at 3*(e%4): the 11-bit grid index of entry e (values 8e to 8e+7)
//            high[g] bits 12-14: s of values 32g to 32g+31; bit 15: delta is -1/8, else +1/8
//            value = scale*(2s + 1) * (grid + delta)
//   IQ1_M  56 bytes | q 32 | high 16 | scales u16 x 4        (the only format whose f16 scale lies in pieces)
//            nibble e of `high`: 3 bits of the grid index above q[e]; its top bit is the sign of delta for these 8 values
//            scales[j] bits 0-11: s of values 64j + 16k at bit 3k; bits 12-15: nibble j of the f16 scale, lowest first
//            value = scale*(2s + 1) * (grid + delta)
#include "kernels/reference/block.h"
#include "kernels/reference/dequantize.h"
#include "kernels/reference/half.h"
#include "kernels/reference/iq_grids.h"

namespace sluice::kernels::reference {

namespace {

constexpr int kValues = 256;

struct BlockIQ1_S {
  uint16_t scale;
  uint8_t q[32];
  uint16_t high[8];
};
struct BlockIQ1_M {
  uint8_t q[32];
  uint8_t high[16];
  uint16_t scales[4];
};
static_assert(sizeof(BlockIQ1_S) == 50 && sizeof(BlockIQ1_M) == 56);

constexpr float kDelta = 0.125f;

}  // namespace

void dequantize_iq1_s(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockIQ1_S>(blocks, i);
    const float scale = f16_to_f32(block.scale);
    for (int v = 0; v < kValues; ++v) {
      const int entry = v / 8, high = block.high[v / 32];
      const float sub_scale = scale * static_cast<float>(2 * (high >> 12 & 7) + 1);
      const float delta = (high & 0x8000) != 0 ? -kDelta : kDelta;
      const int index = block.q[entry] | (high >> (entry % 4 * 3) & 7) << 8;
      *values++ = sub_scale * (static_cast<float>(iq1_value(kGridIq1[index], v % 8)) + delta);
    }
  }
}

void dequantize_iq1_m(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockIQ1_M>(blocks, i);
    uint16_t scale_bits = 0;
    for (int j = 0; j < 4; ++j) scale_bits = static_cast<uint16_t>(scale_bits | block.scales[j] >> 12 << (4 * j));
    const float scale = f16_to_f32(scale_bits);
    for (int v = 0; v < kValues; ++v) {
      const int entry = v / 8, high = block.high[entry / 2] >> (entry % 2 * 4) & 15;
      const float sub_scale = scale * static_cast<float>(2 * (block.scales[v / 64] >> (v / 16 % 4 * 3) & 7) + 1);
      const float delta = (high & 8) != 0 ? -kDelta : kDelta;
      const int index = block.q[entry] | (high & 7) << 8;
      *values++ = sub_scale * (static_cast<float>(iq1_value(kGridIq1[index], v % 8)) + delta);
    }
  }
}

}  // namespace sluice::kernels::reference
