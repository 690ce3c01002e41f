// Q1_0: blocks of 128 values, one sign bit each.
//
//   Q1_0   18 bytes | scale f16 | signs 16      value = bit ? scale : -scale
//            value v: bit v%8 of signs[v/8]
#include "kernels/reference/block.h"
#include "kernels/reference/dequantize.h"
#include "kernels/reference/half.h"

namespace sluice::kernels::reference {

namespace {

constexpr int kValues = 128;

struct BlockQ1_0 {
  uint16_t scale;
  uint8_t signs[16];
};
static_assert(sizeof(BlockQ1_0) == 18);

}  // namespace

void dequantize_q1_0(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockQ1_0>(blocks, i);
    const float scale = f16_to_f32(block.scale);
    for (int v = 0; v < kValues; ++v) *values++ = (block.signs[v / 8] >> v % 8 & 1) != 0 ? scale : -scale;
  }
}

}  // namespace sluice::kernels::reference
