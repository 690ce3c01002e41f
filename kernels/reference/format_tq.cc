// TQ1_0 and TQ2_0: ternary super-blocks of 256 values, value = scale * (t - 1).
//
//   TQ1_0  54 bytes | q 48 | high 4 | scale f16     t in {0,1,2}; five (in `high` four) values a byte
//            A byte holds a fraction of 256 whose digits in base 3 are the values:
//            digit k is (uint8(byte * 3^k) * 3) >> 8
//            values   0-159: digit v/32 of q[v%32]
//            values 160-239: digit (v-160)/16 of q[32 + (v-160)%16]
//            values 240-255: digit (v-240)/4 of high[(v-240)%4]
//   TQ2_0  66 bytes | q 64 | scale f16              t is 2 bits (3 is allowed and means 2*scale)
//            value v: byte 32*(v/128) + v%32, the pair of bits (v/32)%4
#include "kernels/reference/block.h"
#include "kernels/reference/dequantize.h"
#include "kernels/reference/half.h"

namespace sluice::kernels::reference {

namespace {

constexpr int kValues = 256;

struct BlockTQ1_0 {
  uint8_t q[48];
  uint8_t high[4];
  uint16_t scale;
};
struct BlockTQ2_0 {
  uint8_t q[64];
  uint16_t scale;
};
static_assert(sizeof(BlockTQ1_0) == 54 && sizeof(BlockTQ2_0) == 66);

int base3_digit(uint8_t byte, int digit) {
  constexpr int kPowers[5] = {1, 3, 9, 27, 81};
  return (byte * kPowers[digit] & 255) * 3 >> 8;
}

}  // namespace

void dequantize_tq1_0(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockTQ1_0>(blocks, i);
    const float scale = f16_to_f32(block.scale);
    for (int v = 0; v < 160; ++v) *values++ = scale * static_cast<float>(base3_digit(block.q[v % 32], v / 32) - 1);
    for (int v = 0; v < 80; ++v) *values++ = scale * static_cast<float>(base3_digit(block.q[32 + v % 16], v / 16) - 1);
    for (int v = 0; v < 16; ++v) *values++ = scale * static_cast<float>(base3_digit(block.high[v % 4], v / 4) - 1);
  }
}

void dequantize_tq2_0(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockTQ2_0>(blocks, i);
    const float scale = f16_to_f32(block.scale);
    for (int v = 0; v < kValues; ++v) {
      const int t = block.q[v / 128 * 32 + v % 32] >> (v / 32 % 4 * 2) & 3;
      *values++ = scale * static_cast<float>(t - 1);
    }
  }
}

}  // namespace sluice::kernels::reference
