// The K-quants: super-blocks of 256 values, cut into sub-blocks of 16 or 32 values that have integer scales of their
// own.
//
//   Q2_K   84 bytes | scales 16 | q 64 | scale f16 | min f16          | 16 values: value = scale*s * q - min*m
//                     s is the low nibble of a byte of `scales`, m the high one
//   Q3_K  110 bytes | high 32 | q 64 | scales 12 | scale f16          | 16 values: value = scale*(s - 32) * (q - 4)
//                     bytes 0-7 of `scales`: low 4 bits of s 0-7 (low nibbles) and 8-15 (high nibbles)
//                     bytes 8-11: byte j holds the top 2 bits of s j, j+4, j+8, j+12, lowest bits first
//   Q4_K  144 bytes | scale f16 | min f16 | scales 12 | q 128         | 32 values: value = scale*s * q - min*m
//   Q5_K  176 bytes | scale f16 | min f16 | scales 12 | high 32 | q 128
//                     bytes 0-3 of `scales`: 6 bits of s 0-3, and above them the top 2 bits of s 4-7
//                     bytes 4-7: 6 bits of m 0-3, and above them the top 2 bits of m 4-7
//                     bytes 8-11: the low 4 bits of s 4-7 (low nibbles) and m 4-7 (high nibbles)
//   Q6_K  210 bytes | q 128 | high 64 | s i8 x 16 | scale f16         | 16 values: value = scale*s * (q - 32)
//   Q8_K  292 bytes | scale f32 | q i8 x 256 | sums i16 x 16          | value = scale * q;  sums of 16 values of q
//
// Where value v lies (v from 0 to 255):
//   2 bits: byte 32*(v/128) + v%32, the pair of bits (v/32)%4       Q2_K, Q3_K, and `high` of Q6_K
//   4 bits: byte 32*(v/64) + v%32, the nibble (v/32)%2              Q4_K, Q5_K
//           byte 64*(v/128) + v%64, the nibble (v/64)%2             Q6_K
//   1 bit:  byte v%32, bit v/32                                     `high` of Q3_K and Q5_K
#include <algorithm>
#include <cmath>

#include "kernels/reference/block.h"
#include "kernels/reference/dequantize.h"
#include "kernels/reference/half.h"
#include "kernels/reference/quantize.h"

namespace sluice::kernels::reference {

namespace {

constexpr int kValues = 256;

struct BlockQ2_K {
  uint8_t scales[16];
  uint8_t q[64];
  uint16_t scale, min;
};
struct BlockQ3_K {
  uint8_t high[32];
  uint8_t q[64];
  uint8_t scales[12];
  uint16_t scale;
};
struct BlockQ4_K {
  uint16_t scale, min;
  uint8_t scales[12];
  uint8_t q[128];
};
struct BlockQ5_K {
  uint16_t scale, min;
  uint8_t scales[12];
  uint8_t high[32];
  uint8_t q[128];
};
struct BlockQ6_K {
  uint8_t q[128];
  uint8_t high[64];
  int8_t scales[16];
  uint16_t scale;
};
struct BlockQ8_K {
  float scale;
  int8_t q[256];
  int16_t sums[16];
};
static_assert(sizeof(BlockQ2_K) == 84 && sizeof(BlockQ3_K) == 110 && sizeof(BlockQ4_K) == 144 &&
              sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210 && sizeof(BlockQ8_K) == 292);

int two_bits(const uint8_t* q, int v) {
  return q[v / 128 * 32 + v % 32] >> (v / 32 % 4 * 2) & 3;
}
int four_bits(const uint8_t* q, int v) {
  return q[v / 64 * 32 + v % 32] >> (v / 32 % 2 * 4) & 15;
}
int one_bit(const uint8_t* high, int v) {
  return high[v % 32] >> (v / 32) & 1;
}

// The 6-bit scale and min of sub-block j (0 to 7) of Q4_K and Q5_K.
struct ScaleAndMin {
  float scale, min;
};
ScaleAndMin unpack_scale_and_min(const uint8_t* scales, int j) {
  int scale, min;
  if (j < 4) {
    scale = scales[j] & 63;
    min = scales[j + 4] & 63;
  } else {
    scale = (scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4;
    min = scales[j + 4] >> 4 | (scales[j] >> 6) << 4;
  }
  return {static_cast<float>(scale), static_cast<float>(min)};
}

// The 6-bit scale of sub-block j (0 to 15) of Q3_K, from -32 to 31.
int unpack_scale_q3(const uint8_t* scales, int j) {
  const int low = scales[j % 8] >> (j / 8 * 4) & 15;
  const int high = scales[8 + j % 4] >> (j / 4 * 2) & 3;
  return (low | high << 4) - 32;
}

}  // namespace

void dequantize_q2_k(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockQ2_K>(blocks, i);
    const float scale = f16_to_f32(block.scale), min = f16_to_f32(block.min);
    for (int v = 0; v < kValues; ++v) {
      const float sub_scale = scale * static_cast<float>(block.scales[v / 16] & 15);
      const float sub_min = min * static_cast<float>(block.scales[v / 16] >> 4);
      *values++ = sub_scale * static_cast<float>(two_bits(block.q, v)) - sub_min;
    }
  }
}

void dequantize_q3_k(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockQ3_K>(blocks, i);
    const float scale = f16_to_f32(block.scale);
    for (int v = 0; v < kValues; ++v) {
      const float sub_scale = scale * static_cast<float>(unpack_scale_q3(block.scales, v / 16));
      const int q = two_bits(block.q, v) | one_bit(block.high, v) << 2;
      *values++ = sub_scale * static_cast<float>(q - 4);
    }
  }
}

void dequantize_q4_k(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockQ4_K>(blocks, i);
    const float scale = f16_to_f32(block.scale), min = f16_to_f32(block.min);
    for (int v = 0; v < kValues; ++v) {
      const ScaleAndMin sub = unpack_scale_and_min(block.scales, v / 32);
      *values++ = scale * sub.scale * static_cast<float>(four_bits(block.q, v)) - min * sub.min;
    }
  }
}

void dequantize_q5_k(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockQ5_K>(blocks, i);
    const float scale = f16_to_f32(block.scale), min = f16_to_f32(block.min);
    for (int v = 0; v < kValues; ++v) {
      const ScaleAndMin sub = unpack_scale_and_min(block.scales, v / 32);
      const int q = four_bits(block.q, v) | one_bit(block.high, v) << 4;
      *values++ = scale * sub.scale * static_cast<float>(q) - min * sub.min;
    }
  }
}

void dequantize_q6_k(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockQ6_K>(blocks, i);
    const float scale = f16_to_f32(block.scale);
    for (int v = 0; v < kValues; ++v) {
      const int low = block.q[v / 128 * 64 + v % 64] >> (v / 64 % 2 * 4) & 15;
      const int q = low | two_bits(block.high, v) << 4;
      const int8_t part_scale = block.scales[v / 16];
      *values++ = scale * static_cast<float>(part_scale) * static_cast<float>(q - 32);
    }
  }
}

void dequantize_q8_k(const std::byte* blocks, int64_t n_values, float* values) {
  for (int64_t i = 0; i < n_values / kValues; ++i) {
    const auto block = load_block<BlockQ8_K>(blocks, i);
    for (int8_t q : block.q) *values++ = block.scale * static_cast<float>(q);
  }
}

// The value of the largest magnitude becomes -127, so the scale may be negative; halves are rounded to even.
void quantize_q8_k(const float* values, int64_t n_values, std::byte* blocks) {
  for (int64_t i = 0; i < n_values / kValues; ++i, values += kValues) {
    BlockQ8_K block{};
    float largest = 0;
    for (int v = 0; v < kValues; ++v)
      if (std::fabs(values[v]) > std::fabs(largest)) largest = values[v];
    const float inverse = -127 / largest;
    if (std::isfinite(inverse) && inverse != 0) {  // else zeros
      block.scale = 1 / inverse;
      for (int v = 0; v < kValues; ++v) {
        const int q = static_cast<int>(std::clamp(std::nearbyint(values[v] * inverse), -127.0f, 127.0f));
        block.q[v] = static_cast<int8_t>(q);
        block.sums[v / 16] = static_cast<int16_t>(block.sums[v / 16] + q);
      }
    }
    store_block(block, blocks, i);
  }
}

}  // namespace sluice::kernels::reference
