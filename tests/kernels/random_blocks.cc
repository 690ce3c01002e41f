#include "tests/kernels/random_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

namespace sluice::test {

std::vector<std::byte> random_blocks(const kernels::Format& format, size_t n_blocks, uint32_t seed) {
  std::mt19937 random(seed);
  const gguf::TypeLayout& layout = *format.layout;
  std::vector<std::byte> bytes(n_blocks * layout.block_bytes);
  std::vector<float> values(layout.block_values);
  for (size_t i = 0; i < n_blocks; ++i) {
    std::byte* block = bytes.data() + i * layout.block_bytes;
    const auto ordinary = [](float v) { return std::isfinite(v) && std::abs(v) < 1e3f; };
    do {
      for (uint32_t b = 0; b < layout.block_bytes; ++b) block[b] = static_cast<std::byte>(random());
      format.dequantize(block, layout.block_values, values.data());
    } while (!std::ranges::all_of(values, ordinary));
  }
  return bytes;
}

// The bytes of float scales and mins: [begin, end) inside a block.
static std::pair<uint32_t, uint32_t> float_bytes(const kernels::Format& format) {
  using enum gguf::TensorType;
  const uint32_t size = format.layout->block_bytes;
  switch (format.type) {
    case Q4_1:
    case Q5_1:
    case Q8_1:
    case Q4_K:
    case Q5_K:
    case Q8_K:
      return {0, 4};
    case Q2_K:
      return {size - 4, size};
    case Q3_K:
    case Q6_K:
    case TQ1_0:
    case TQ2_0:
      return {size - 2, size};
    case MXFP4:
      return {0, 1};
    case NVFP4:
      return {0, 4};
    case IQ1_M:
      return {48, 56};
    case F32:
    case F16:
    case BF16:
      return {0, size};
    default:
      return {0, 2};
  }
}

void fill_codes(const kernels::Format& format, std::vector<std::byte>& blocks, std::byte fill) {
  const auto [begin, end] = float_bytes(format);
  const uint32_t size = format.layout->block_bytes;
  for (size_t i = 0; i < blocks.size(); ++i)
    if (const size_t at = i % size; at < begin || at >= end) blocks[i] = fill;
}

void set_extreme_scales(const kernels::Format& format, std::vector<std::byte>& blocks) {
  constexpr uint16_t kHalves[] = {0x0001, 0x83FF, 0x0400, 0x7BFF,
                                  0x8000, 0xFBFF, 0x0000};  // subnormals, zeros, +-65504
  constexpr uint8_t kExponents[] = {0, 1, 2, 127, 235};
  const auto [begin, end] = float_bytes(format);
  const uint32_t size = format.layout->block_bytes;
  size_t next = 0;
  for (size_t block = 0; block < blocks.size(); block += size) {
    if (format.type == gguf::TensorType::MXFP4) {
      blocks[block] = static_cast<std::byte>(kExponents[next++ % std::size(kExponents)]);
    } else if (format.type == gguf::TensorType::IQ1_M) {  // in the top nibbles of four 16-bit numbers
      const uint16_t half = kHalves[next++ % std::size(kHalves)];
      for (size_t j = 0; j < 4; ++j) {
        std::byte& top = blocks[block + 49 + 2 * j];
        top = (top & std::byte{15}) | static_cast<std::byte>((half >> (4 * j) & 15) << 4);
      }
    } else {
      for (uint32_t at = begin; at < end; at += 2) {
        const uint16_t half = kHalves[next++ % std::size(kHalves)];
        std::memcpy(blocks.data() + block + at, &half, sizeof half);
      }
    }
  }
}

}  // namespace sluice::test
