// Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q8_1: blocks of 32 values with one f16 scale, and in the _1 forms one f16 offset or sum.
//
//   Q4_0  18 bytes | scale f16 | q 16                         | value = scale * (q - 8)          q is 4 bits
//   Q4_1  20 bytes | scale f16 | offset f16 | q 16            | value = scale * q + offset
//   Q5_0  22 bytes | scale f16 | high u32 | q 16              | value = scale * (q - 16)         q is 5 bits
//   Q5_1  24 bytes | scale f16 | offset f16 | high u32 | q 16 | value = scale * q + offset
//   Q8_0  34 bytes | scale f16 | q 32                         | value = scale * q                q is signed
//   Q8_1  36 bytes | scale f16 | sum f16 | q 32               | value = scale * q       sum = scale * (sum of q)
//
// The 16 bytes of q hold values 0 to 15 in their low nibbles and 16 to 31 in their high ones. Bit i of `high` is the
// fifth bit of value i.
#include <algorithm>
#include <cmath>

#include "kernels/reference/block.h"
#include "kernels/reference/dequantize.h"
#include "kernels/reference/half.h"
#include "kernels/reference/quantize.h"

namespace sluice::kernels::reference {

namespace {

constexpr int kValues = 32;

struct BlockQ4_0 {
  uint16_t scale;
  uint8_t q[16];
};
struct BlockQ4_1 {
  uint16_t scale, offset;
  uint8_t q[16];
};
struct BlockQ5_0 {
  uint16_t scale;
  uint8_t high[4];
  uint8_t q[16];
};
struct BlockQ5_1 {
  uint16_t scale, offset;
  uint8_t high[4];
  uint8_t q[16];
};
struct BlockQ8_0 {
  uint16_t scale;
  int8_t q[32];
};
struct BlockQ8_1 {
  uint16_t scale, sum;
  int8_t q[32];
};
static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22 &&
              sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34 && sizeof(BlockQ8_1) == 36);

int nibble(const uint8_t* q, int value) {
  return q[value % 16] >> (value / 16 * 4) & 15;
}
int fifth_bit(const uint8_t* high, int value) {
  return (high[value / 8] >> (value % 8) & 1) << 4;
}

}  // namespace

void dequantize_q4_0(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockQ4_0>(blocks, i);
    const float scale = f16_to_f32(block.scale);
    for (int v = 0; v < kValues; ++v) *values++ = scale * static_cast<float>(nibble(block.q, v) - 8);
  }
}

void dequantize_q4_1(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockQ4_1>(blocks, i);
    const float scale = f16_to_f32(block.scale), offset = f16_to_f32(block.offset);
    for (int v = 0; v < kValues; ++v) *values++ = scale * static_cast<float>(nibble(block.q, v)) + offset;
  }
}

void dequantize_q5_0(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockQ5_0>(blocks, i);
    const float scale = f16_to_f32(block.scale);
    for (int v = 0; v < kValues; ++v) {
      const int q = nibble(block.q, v) | fifth_bit(block.high, v);
      *values++ = scale * static_cast<float>(q - 16);
    }
  }
}

void dequantize_q5_1(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockQ5_1>(blocks, i);
    const float scale = f16_to_f32(block.scale), offset = f16_to_f32(block.offset);
    for (int v = 0; v < kValues; ++v) {
      const int q = nibble(block.q, v) | fifth_bit(block.high, v);
      *values++ = scale * static_cast<float>(q) + offset;
    }
  }
}

void dequantize_q8_0(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockQ8_0>(blocks, i);
    const float scale = f16_to_f32(block.scale);
    for (int8_t q : block.q) *values++ = scale * static_cast<float>(q);
  }
}

void dequantize_q8_1(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockQ8_1>(blocks, i);
    const float scale = f16_to_f32(block.scale);
    for (int8_t q : block.q) *values++ = scale * static_cast<float>(q);
  }
}

namespace {

// The first of the values with the largest magnitude, with its sign: the _0 forms map it to the lowest code, -8 or -16.
float largest(const float* values) {
  float best = 0;
  for (int v = 0; v < kValues; ++v)
    if (std::fabs(values[v]) > std::fabs(best)) best = values[v];
  return best;
}

// 1 / scale, or 0 when the scale is 0 or so small that its inverse overflows: such a block becomes zeros (f16 holds no
// such scale).
float inverse_of(float scale) {
  const float inverse = 1 / scale;
  return std::isfinite(inverse) ? inverse : 0;
}

// A code from 0 to `highest`; `value` is already moved so that truncation rounds it. Values so far apart that their
// difference overflows arrive here as NaN, and their block has an infinite scale.
uint8_t code(float value, int highest) {
  if (!(value > 0)) return 0;
  return static_cast<uint8_t>(std::min(std::trunc(value), static_cast<float>(highest)));
}

// Distributes 32 codes of 4 or 5 bits over nibbles, and over `high` the fifth bits.
void pack_nibbles(const uint8_t* codes, uint8_t* q) {
  for (int v = 0; v < 16; ++v) q[v] = static_cast<uint8_t>((codes[v] & 15) | (codes[v + 16] & 15) << 4);
}
void pack_fifth_bits(const uint8_t* codes, uint8_t* high) {
  for (int v = 0; v < kValues; ++v) high[v / 8] = static_cast<uint8_t>(high[v / 8] | codes[v] >> 4 << (v % 8));
}

// Codes of the _0 forms: round(value / scale) + zero, where the largest value divided by the scale is -zero.
float quantize_symmetric(const float* values, int zero, uint8_t* codes) {
  const float scale = largest(values) / static_cast<float>(-zero), inverse = inverse_of(scale);
  for (int v = 0; v < kValues; ++v)
    codes[v] = code(values[v] * inverse + (static_cast<float>(zero) + 0.5f), 2 * zero - 1);
  return scale;
}

// Codes of the _1 forms: from 0 for the smallest value to `highest` for the largest.
struct ScaleAndOffset {
  float scale, offset;
};
ScaleAndOffset quantize_with_offset(const float* values, int highest, uint8_t* codes) {
  const auto [min, max] = std::minmax_element(values, values + kValues);
  const float scale = (*max - *min) / static_cast<float>(highest), inverse = inverse_of(scale);
  for (int v = 0; v < kValues; ++v) codes[v] = code((values[v] - *min) * inverse + 0.5f, highest);
  return {scale, *min};
}

// Signed codes from -127 to 127, halves rounded away from zero.
float quantize_bytes(const float* values, int8_t* q) {
  const float scale = std::fabs(largest(values)) / 127, inverse = inverse_of(scale);
  for (int v = 0; v < kValues; ++v)
    q[v] = static_cast<int8_t>(std::clamp(std::round(values[v] * inverse), -127.0f, 127.0f));
  return scale;
}

}  // namespace

void quantize_q4_0(const float* values, int64_t n_values, std::byte* blocks) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    BlockQ4_0 block{};
    uint8_t codes[kValues];
    block.scale = f32_to_f16(quantize_symmetric(values + i * kValues, 8, codes));
    pack_nibbles(codes, block.q);
    store_block(block, blocks, i);
  }
}

void quantize_q4_1(const float* values, int64_t n_values, std::byte* blocks) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    BlockQ4_1 block{};
    uint8_t codes[kValues];
    const ScaleAndOffset found = quantize_with_offset(values + i * kValues, 15, codes);
    block.scale = f32_to_f16(found.scale);
    block.offset = f32_to_f16(found.offset);
    pack_nibbles(codes, block.q);
    store_block(block, blocks, i);
  }
}

void quantize_q5_0(const float* values, int64_t n_values, std::byte* blocks) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    BlockQ5_0 block{};
    uint8_t codes[kValues];
    block.scale = f32_to_f16(quantize_symmetric(values + i * kValues, 16, codes));
    pack_nibbles(codes, block.q);
    pack_fifth_bits(codes, block.high);
    store_block(block, blocks, i);
  }
}

void quantize_q5_1(const float* values, int64_t n_values, std::byte* blocks) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    BlockQ5_1 block{};
    uint8_t codes[kValues];
    const ScaleAndOffset found = quantize_with_offset(values + i * kValues, 31, codes);
    block.scale = f32_to_f16(found.scale);
    block.offset = f32_to_f16(found.offset);
    pack_nibbles(codes, block.q);
    pack_fifth_bits(codes, block.high);
    store_block(block, blocks, i);
  }
}

void quantize_q8_0(const float* values, int64_t n_values, std::byte* blocks) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    BlockQ8_0 block;
    block.scale = f32_to_f16(quantize_bytes(values + i * kValues, block.q));
    store_block(block, blocks, i);
  }
}

void quantize_q8_1(const float* values, int64_t n_values, std::byte* blocks) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    BlockQ8_1 block;
    const float scale = quantize_bytes(values + i * kValues, block.q);
    int sum = 0;
    for (int8_t q : block.q) sum += q;
    block.scale = f32_to_f16(scale);
    block.sum = f32_to_f16(scale * static_cast<float>(sum));
    store_block(block, blocks, i);
  }
}

}  // namespace sluice::kernels::reference
