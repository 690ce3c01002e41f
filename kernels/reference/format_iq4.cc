// IQ4_NL and IQ4_XS: 4-bit indices into a table of 16 values that lie closer together near zero.
//
//   IQ4_NL   18 bytes, 32 values  | scale f16 | q 16                       | value = scale * table[q]
//   IQ4_XS  136 bytes, 256 values | scale f16 | high u16 | low 4 | q 128   | value = scale*(s - 32) * table[q]
//             groups of 32 values; s of group g: nibble g of `low`, and above it bits 2g and 2g+1 of `high`
//
// Each 16 bytes of q hold 32 values: 0 to 15 in the low nibbles, 16 to 31 in the high ones.
#include "kernels/reference/block.h"
#include "kernels/reference/dequantize.h"
#include "kernels/reference/half.h"
#include "kernels/reference/iq_grids.h"

namespace sluice::kernels::reference {

namespace {

struct BlockIQ4_NL {
  uint16_t scale;
  uint8_t q[16];
};
struct BlockIQ4_XS {
  uint16_t scale, high;
  uint8_t low[4];
  uint8_t q[128];
};
static_assert(sizeof(BlockIQ4_NL) == 18 && sizeof(BlockIQ4_XS) == 136);

}  // namespace

void dequantize_iq4_nl(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / 32; ++i) {
    const auto block = load_block<BlockIQ4_NL>(blocks, i);
    const float scale = f16_to_f32(block.scale);
    for (int v = 0; v < 32; ++v)
      *values++ = scale * static_cast<float>(kIq4Values[block.q[v % 16] >> (v / 16 * 4) & 15]);
  }
}

void dequantize_iq4_xs(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / 256; ++i) {
    const auto block = load_block<BlockIQ4_XS>(blocks, i);
    const float scale = f16_to_f32(block.scale);
    for (int v = 0; v < 256; ++v) {
      const int group = v / 32;
      const int s = (block.low[group / 2] >> (group % 2 * 4) & 15) | (block.high >> (2 * group) & 3) << 4;
      const int q = block.q[group * 16 + v % 16] >> (v / 16 % 2 * 4) & 15;
      *values++ = scale * static_cast<float>(s - 32) * static_cast<float>(kIq4Values[q]);
    }
  }
}

}  // namespace sluice::kernels::reference
