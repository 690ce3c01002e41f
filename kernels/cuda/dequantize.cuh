// Blocks of every format as floats, bit for bit as kernels/reference has them (compiled with -fmad=false). The layouts are drawn
// there and in kernels/cuda/formats.
//
// A lane takes eight neighbouring columns, byte by byte from device memory: for rows that are few (embeddings, products across
// rows). Block fields lie at multiples of 2 where the matrix does, except in MXFP4, whose fields are bytes.
#pragma once

#include "gguf/tensor_type.h"
#include "kernels/cuda/bytes.cuh"
#include "kernels/cuda/formats/fp4_scales.cuh"
#include "kernels/cuda/formats/iq_grids.cuh"
#include "kernels/cuda/formats/signed_grid.cuh"

namespace sluice::kernels::cuda {

struct EightValues {
  float v[8];
};

namespace dequantizing {

__device__ inline int byte(const std::byte* p) {
  return static_cast<int>(*p);
}
__device__ inline int signed_byte(const std::byte* p) {
  return static_cast<int8_t>(*p);
}
__device__ inline uint32_t u16(const std::byte* p) {
  return *reinterpret_cast<const uint16_t*>(p);
}
__device__ inline uint32_t u32(const std::byte* p) {
  return u16(p) | u16(p + 2) << 16;
}
__device__ inline float f16(const std::byte* p) {
  return float_of_f16(u16(p));
}

__device__ inline int iq4_value(int nibble) {
  constexpr uint32_t kWords[4] = {0xBFAD9881u, 0xF6EADDCFu, 0x26190D01u, 0x71594535u};
  const uint32_t word = nibble < 8 ? (nibble < 4 ? kWords[0] : kWords[1]) : (nibble < 12 ? kWords[2] : kWords[3]);
  return static_cast<int8_t>(word >> (nibble % 4 * 8) & 0xFF);
}
__device__ inline int fp4_value(int nibble) {
  const int magnitude = static_cast<int>(0xC8643210u >> (nibble % 8 * 4) & 15);
  return nibble < 8 ? magnitude : -magnitude;
}

// The 6-bit scale and min of sub-block j of Q4_K and Q5_K.
__device__ inline int scale_k(const std::byte* scales, int j) {
  return j < 4 ? byte(scales + j) & 63 : (byte(scales + j + 4) & 15) | (byte(scales + j - 4) >> 6) << 4;
}
__device__ inline int min_k(const std::byte* scales, int j) {
  return j < 4 ? byte(scales + j + 4) & 63 : byte(scales + j + 4) >> 4 | (byte(scales + j) >> 6) << 4;
}

__device__ inline int base3_digit(int value, int digit) {
  const int power = digit < 4 ? static_cast<int>(0x1B090301u >> (8 * digit) & 0xFF) : 81;
  return (value * power & 255) * 3 >> 8;
}

// Magnitude i of a point of IQ2.
__device__ inline int magnitude_iq2(uint32_t point, int i) {
  const int field = static_cast<int>(point >> (2 * i) & 3);
  return 8 + 17 * field + (field >> 1);
}

__device__ inline float with_sign(int magnitude, uint32_t signs, int i) {
  const float value = static_cast<float>(magnitude);
  return (signs >> i & 1) != 0 ? -value : value;
}

}  // namespace dequantizing

// Columns `column` to column + 7 of a row; column is a multiple of 8. The types without blocks have n_values of them, and the
// others whole blocks.
__device__ inline EightValues dequantize_eight(gguf::TensorType type, const std::byte* row, int64_t column,
                                               int n_values) {
  using namespace dequantizing;
  using gguf::TensorType;
  EightValues out{};
  float(&v)[8] = out.v;
  // Types with blocks: the block, and the first of the eight values in it.
  auto block_of = [&](int block_values, int block_bytes) { return row + column / block_values * block_bytes; };
  const int at32 = static_cast<int>(column % 32), at256 = static_cast<int>(column % 256);
  const int half = at32 / 16 * 4;  // the shift of nibbles that hold 16 values and then the next 16
  switch (type) {
    case TensorType::F32:
#pragma unroll
      for (int i = 0; i < 8; ++i)
        if (i < n_values) v[i] = reinterpret_cast<const float*>(row)[column + i];
      break;
    case TensorType::F16:
#pragma unroll
      for (int i = 0; i < 8; ++i)
        if (i < n_values) v[i] = f16(row + (column + i) * 2);
      break;
    case TensorType::BF16:
#pragma unroll
      for (int i = 0; i < 8; ++i)
        if (i < n_values) v[i] = __uint_as_float(u16(row + (column + i) * 2) << 16);
      break;
    case TensorType::F64:
#pragma unroll
      for (int i = 0; i < 8; ++i)
        if (i < n_values) v[i] = static_cast<float>(reinterpret_cast<const double*>(row)[column + i]);
      break;
    case TensorType::I8:
#pragma unroll
      for (int i = 0; i < 8; ++i)
        if (i < n_values) v[i] = static_cast<float>(signed_byte(row + column + i));
      break;
    case TensorType::I16:
#pragma unroll
      for (int i = 0; i < 8; ++i)
        if (i < n_values) v[i] = static_cast<float>(reinterpret_cast<const int16_t*>(row)[column + i]);
      break;
    case TensorType::I32:
#pragma unroll
      for (int i = 0; i < 8; ++i)
        if (i < n_values) v[i] = static_cast<float>(reinterpret_cast<const int32_t*>(row)[column + i]);
      break;
    case TensorType::I64:
#pragma unroll
      for (int i = 0; i < 8; ++i)
        if (i < n_values) v[i] = static_cast<float>(reinterpret_cast<const int64_t*>(row)[column + i]);
      break;
    case TensorType::Q4_0:
    case TensorType::IQ4_NL: {
      const std::byte* block = block_of(32, 18);
      const float scale = f16(block);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int nibble = byte(block + 2 + at32 % 16 + i) >> half & 15;
        v[i] = scale * static_cast<float>(type == TensorType::Q4_0 ? nibble - 8 : iq4_value(nibble));
      }
      break;
    }
    case TensorType::Q4_1: {
      const std::byte* block = block_of(32, 20);
      const float scale = f16(block), offset = f16(block + 2);
#pragma unroll
      for (int i = 0; i < 8; ++i)
        v[i] = scale * static_cast<float>(byte(block + 4 + at32 % 16 + i) >> half & 15) + offset;
      break;
    }
    case TensorType::Q5_0:
    case TensorType::Q5_1: {
      const bool has_offset = type == TensorType::Q5_1;
      const std::byte* block = block_of(32, has_offset ? 24 : 22);
      const std::byte* high = block + (has_offset ? 4 : 2);
      const float scale = f16(block), offset = has_offset ? f16(block + 2) : 0;
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int q = (byte(high + 4 + at32 % 16 + i) >> half & 15) | (byte(high + at32 / 8) >> i & 1) << 4;
        v[i] = has_offset ? scale * static_cast<float>(q) + offset : scale * static_cast<float>(q - 16);
      }
      break;
    }
    case TensorType::Q8_0:
    case TensorType::Q8_1: {
      const int head = type == TensorType::Q8_0 ? 2 : 4;
      const std::byte* block = block_of(32, head + 32);
      const float scale = f16(block);
#pragma unroll
      for (int i = 0; i < 8; ++i) v[i] = scale * static_cast<float>(signed_byte(block + head + at32 + i));
      break;
    }
    case TensorType::MXFP4: {
      const std::byte* block = block_of(32, 17);
      const float scale = half_of_e8m0(byte(block));
#pragma unroll
      for (int i = 0; i < 8; ++i)
        v[i] = scale * static_cast<float>(fp4_value(byte(block + 1 + at32 % 16 + i) >> half & 15));
      break;
    }
    case TensorType::NVFP4: {
      const std::byte* block = block_of(64, 36);
      const int group = static_cast<int>(column % 64) / 16, shift = static_cast<int>(column / 8 % 2) * 4;
      const float scale = half_of_ue4m3(byte(block + group));
#pragma unroll
      for (int i = 0; i < 8; ++i)
        v[i] = scale * static_cast<float>(fp4_value(byte(block + 4 + group * 8 + i) >> shift & 15));
      break;
    }
    case TensorType::Q1_0: {
      const std::byte* block = block_of(128, 18);
      const float scale = f16(block);
      const int signs = byte(block + 2 + column % 128 / 8);
#pragma unroll
      for (int i = 0; i < 8; ++i) v[i] = (signs >> i & 1) != 0 ? scale : -scale;
      break;
    }
    case TensorType::Q2_K: {
      const std::byte* block = block_of(256, 84);
      const int sub = byte(block + at256 / 16);
      const float scale = f16(block + 80) * static_cast<float>(sub & 15),
                  min = f16(block + 82) * static_cast<float>(sub >> 4);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int q = byte(block + 16 + at256 / 128 * 32 + at256 % 32 + i) >> (at256 / 32 % 4 * 2) & 3;
        v[i] = scale * static_cast<float>(q) - min;
      }
      break;
    }
    case TensorType::Q3_K: {
      const std::byte* block = block_of(256, 110);
      const int j = at256 / 16;
      const int low = byte(block + 96 + j % 8) >> (j / 8 * 4) & 15, top = byte(block + 104 + j % 4) >> (j / 4 * 2) & 3;
      const float scale = f16(block + 108) * static_cast<float>((low | top << 4) - 32);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int two = byte(block + 32 + at256 / 128 * 32 + at256 % 32 + i) >> (at256 / 32 % 4 * 2) & 3;
        const int third = byte(block + at256 % 32 + i) >> (at256 / 32) & 1;
        v[i] = scale * static_cast<float>((two | third << 2) - 4);
      }
      break;
    }
    case TensorType::Q4_K:
    case TensorType::Q5_K: {
      const bool has_high = type == TensorType::Q5_K;
      const std::byte* block = block_of(256, has_high ? 176 : 144);
      const std::byte* q = block + (has_high ? 48 : 16);
      const int j = at256 / 32;
      const float scale = f16(block) * static_cast<float>(scale_k(block + 4, j));
      const float min = f16(block + 2) * static_cast<float>(min_k(block + 4, j));
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int low = byte(q + at256 / 64 * 32 + at32 + i) >> (j % 2 * 4) & 15;
        const int fifth = has_high ? byte(block + 16 + at32 + i) >> j & 1 : 0;
        v[i] = scale * static_cast<float>(low | fifth << 4) - min;
      }
      break;
    }
    case TensorType::Q6_K: {
      const std::byte* block = block_of(256, 210);
      const float scale = f16(block + 208) * static_cast<float>(signed_byte(block + 192 + at256 / 16));
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int low = byte(block + at256 / 128 * 64 + at256 % 64 + i) >> (at256 / 64 % 2 * 4) & 15;
        const int top = byte(block + 128 + at256 / 128 * 32 + at32 + i) >> (at256 / 32 % 4 * 2) & 3;
        v[i] = scale * static_cast<float>((low | top << 4) - 32);
      }
      break;
    }
    case TensorType::Q8_K: {
      const std::byte* block = block_of(256, 292);
      const float scale = __uint_as_float(u32(block));
#pragma unroll
      for (int i = 0; i < 8; ++i) v[i] = scale * static_cast<float>(signed_byte(block + 4 + at256 + i));
      break;
    }
    case TensorType::IQ1_S:
    case TensorType::IQ1_M: {
      const bool is_s = type == TensorType::IQ1_S;
      const std::byte* block = block_of(256, is_s ? 50 : 56);
      const int entry = at256 / 8;
      uint32_t index, s;
      float scale;
      bool is_minus;
      if (is_s) {
        const uint32_t high = u16(block + 34 + entry / 4 * 2);
        index = byte(block + 2 + entry) | (high >> (entry % 4 * 3) & 7) << 8;
        s = high >> 12 & 7;
        scale = f16(block);
        is_minus = (high & 0x8000) != 0;
      } else {
        const uint32_t high = byte(block + 32 + entry / 2) >> (entry % 2 * 4) & 15;
        index = byte(block + entry) | (high & 7) << 8;
        s = u16(block + 48 + at256 / 64 * 2) >> (at256 / 16 % 4 * 3) & 7;
        scale = float_of_f16(u16(block + 48) >> 12 | u16(block + 50) >> 12 << 4 | u16(block + 52) >> 12 << 8 |
                             u16(block + 54) >> 12 << 12);
        is_minus = (high & 8) != 0;
      }
      const float sub_scale = scale * static_cast<float>(2 * s + 1), delta = is_minus ? -0.125f : 0.125f;
      const uint32_t point = kGridIq1[index];
#pragma unroll
      for (int i = 0; i < 8; ++i)
        v[i] = sub_scale * (static_cast<float>(static_cast<int>(point >> (2 * i) & 3) - 1) + delta);
      break;
    }
    case TensorType::IQ2_XXS:
    case TensorType::IQ2_XS:
    case TensorType::IQ2_S: {
      const int entry = at256 / 8;
      const std::byte* block;
      uint32_t point, signs, s;
      if (type == TensorType::IQ2_XXS) {
        block = block_of(256, 66);
        const std::byte* group = block + 2 + entry / 4 * 8;
        const uint32_t signs_and_scale = u32(group + 4);
        point = kGridIq2Xxs[byte(group + entry % 4)];
        signs = eight_signs(signs_and_scale >> (7 * (entry % 4)) & 127);
        s = signs_and_scale >> 28;
      } else if (type == TensorType::IQ2_XS) {
        block = block_of(256, 74);
        const uint32_t q = u16(block + 2 + entry * 2);
        point = kGridIq2Xs[q & 511];
        signs = eight_signs(q >> 9);
        s = byte(block + 66 + at256 / 32) >> (at256 / 16 % 2 * 4) & 15;
      } else {
        block = block_of(256, 82);
        point = kGridIq2S[byte(block + 2 + entry) | (byte(block + 66 + entry / 4) >> (entry % 4 * 2) & 3) << 8];
        signs = byte(block + 34 + entry);
        s = byte(block + 74 + at256 / 32) >> (at256 / 16 % 2 * 4) & 15;
      }
      const float scale = f16(block) * (0.5f + static_cast<float>(s)) * 0.25f;
#pragma unroll
      for (int i = 0; i < 8; ++i) v[i] = scale * with_sign(magnitude_iq2(point, i), signs, i);
      break;
    }
    case TensorType::IQ3_XXS: {
      const std::byte* block = block_of(256, 98);
      const uint32_t signs_and_scale = u32(block + 66 + at256 / 32 * 4);
      const uint32_t signs = eight_signs(signs_and_scale >> (at256 / 8 % 4 * 7) & 127);
      const float scale = f16(block) * (0.5f + static_cast<float>(signs_and_scale >> 28)) * 0.5f;
      const uint32_t points = kGridIq3Xxs[byte(block + 2 + at256 / 4)] |
                              static_cast<uint32_t>(kGridIq3Xxs[byte(block + 3 + at256 / 4)]) << 16;
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int field = static_cast<int>(points >> (4 * i) & 7);
        v[i] = scale * with_sign(4 + 8 * field + (field == 7 ? 2 : 0), signs, i);
      }
      break;
    }
    case TensorType::IQ3_S: {
      const std::byte* block = block_of(256, 110);
      const int entry = at256 / 4, high = byte(block + 66 + entry / 8) >> (entry % 8);
      const float scale =
          f16(block) * static_cast<float>(2 * (byte(block + 106 + at256 / 64) >> (at256 / 32 % 2 * 4) & 15) + 1);
      const uint32_t signs = byte(block + 74 + at256 / 8);
      const uint32_t points = kGridIq3S[byte(block + 2 + entry) | (high & 1) << 8] |
                              static_cast<uint32_t>(kGridIq3S[byte(block + 3 + entry) | (high & 2) << 7]) << 16;
#pragma unroll
      for (int i = 0; i < 8; ++i) v[i] = scale * with_sign(2 * static_cast<int>(points >> (4 * i) & 7) + 1, signs, i);
      break;
    }
    case TensorType::IQ4_XS: {
      const std::byte* block = block_of(256, 136);
      const int group = at256 / 32;
      const int s = (byte(block + 4 + group / 2) >> (group % 2 * 4) & 15) |
                    static_cast<int>(u16(block + 2) >> (2 * group) & 3) << 4;
      const float scale = f16(block) * static_cast<float>(s - 32);
#pragma unroll
      for (int i = 0; i < 8; ++i)
        v[i] = scale * static_cast<float>(iq4_value(byte(block + 8 + group * 16 + at32 % 16 + i) >> half & 15));
      break;
    }
    case TensorType::TQ1_0: {
      const std::byte* block = block_of(256, 54);
      const float scale = f16(block + 52);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int at = at256 + i;
        const int q = at < 160   ? base3_digit(byte(block + at % 32), at / 32)
                      : at < 240 ? base3_digit(byte(block + 32 + at % 16), (at - 160) / 16)
                                 : base3_digit(byte(block + 48 + at % 4), (at - 240) / 4);
        v[i] = scale * static_cast<float>(q - 1);
      }
      break;
    }
    case TensorType::TQ2_0: {
      const std::byte* block = block_of(256, 66);
      const float scale = f16(block + 64);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int t = byte(block + at256 / 128 * 32 + at256 % 32 + i) >> (at256 / 32 % 4 * 2) & 3;
        v[i] = scale * static_cast<float>(t - 1);
      }
      break;
    }
  }
  return out;
}

}  // namespace sluice::kernels::cuda
