#include "kernels/random_blocks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/reference/dequantize.h"
#include "kernels/reference/half.h"

namespace sluice::kernels {
namespace {

using gguf::TensorType;

// The bits of a block are random but for its scales. Most formats keep those as f16 at fixed places. A second one
// multiplies a minimum or is an offset; its ratio to the first centres the codes on zero.
struct ScaleFields {
  TensorType type;
  uint32_t scale_at;       // bytes into the block
  uint32_t offset_at = 0;  // of the second scale
  float offset_ratio = 0;  // second / first; 0: there is none
};
constexpr std::array kScaleFields = {
    ScaleFields{TensorType::Q4_0, 0},           ScaleFields{TensorType::Q4_1, 0, 2, -7.5f},
    ScaleFields{TensorType::Q5_0, 0},           ScaleFields{TensorType::Q5_1, 0, 2, -15.5f},
    ScaleFields{TensorType::Q8_0, 0},           ScaleFields{TensorType::Q2_K, 80, 82, 1.5f},
    ScaleFields{TensorType::Q3_K, 108},         ScaleFields{TensorType::Q4_K, 0, 2, 7.5f},
    ScaleFields{TensorType::Q5_K, 0, 2, 15.5f}, ScaleFields{TensorType::Q6_K, 208},
    ScaleFields{TensorType::IQ2_XXS, 0},        ScaleFields{TensorType::IQ2_XS, 0},
    ScaleFields{TensorType::IQ3_XXS, 0},        ScaleFields{TensorType::IQ1_S, 0},
    ScaleFields{TensorType::IQ4_NL, 0},         ScaleFields{TensorType::IQ3_S, 0},
    ScaleFields{TensorType::IQ2_S, 0},          ScaleFields{TensorType::IQ4_XS, 0},
    ScaleFields{TensorType::TQ1_0, 52},         ScaleFields{TensorType::TQ2_0, 64},
    ScaleFields{TensorType::Q1_0, 0},
};

const ScaleFields* find_scale_fields(TensorType type) {
  const auto found = std::ranges::find(kScaleFields, type, &ScaleFields::type);
  return found == kScaleFields.end() ? nullptr : &*found;
}

bool is_float(TensorType type) {
  return type == TensorType::F32 || type == TensorType::F16 || type == TensorType::BF16;
}

using Random = std::mt19937_64;  // the standard fixes its numbers, but not those of its distributions

// Mean 0 and deviation 1: four uniform numbers added, near enough to a normal distribution.
float random_normal(Random& random) {
  const uint64_t bits = random();
  int64_t sum = 0;
  for (int shift = 0; shift < 64; shift += 16) sum += static_cast<int64_t>(bits >> shift & 0xFFFF);
  return (static_cast<float>(sum) - 2 * 65535.0f) * static_cast<float>(1.7320508 / 65536);  // sqrt(12 / 4)
}

float random_between(Random& random, float least, float most) {
  return least + (most - least) * static_cast<float>(random() >> 40) * 0x1p-24f;
}

void fill_random_bits(Random& random, std::span<std::byte> bytes) {
  for (size_t i = 0; i < bytes.size(); i += sizeof(uint64_t)) {
    const uint64_t bits = random();
    std::memcpy(bytes.data() + i, &bits, std::min(sizeof bits, bytes.size() - i));
  }
}

void put_f16(std::byte* at, float value) {
  const uint16_t bits = reference::f32_to_f16(value);
  std::memcpy(at, &bits, sizeof bits);
}

// The f16 scale of IQ1_M lies in the top nibbles of its four last u16, lowest first.
void put_scale_iq1_m(std::byte* block, float scale) {
  const uint16_t bits = reference::f32_to_f16(scale);
  for (int j = 0; j < 4; ++j) {
    std::byte& top = block[48 + 2 * j + 1];
    top = (top & std::byte{0x0F}) | static_cast<std::byte>((bits >> (4 * j) & 15) << 4);
  }
}

// The weights that scales of type E8M0 (MXFP4) and UE4M3 (NVFP4) stand for. Both grow with the code.
float scale_of_mxfp4(int code) {
  return std::ldexp(1.0f, code - 128);
}
float scale_of_nvfp4(int code) {
  const float mantissa = static_cast<float>(code & 7);
  return code < 8 ? std::ldexp(mantissa, -10) : std::ldexp(1 + mantissa / 8, (code >> 3) - 8);
}

// Draws one of the two codes around a scale, so often that the mean square is that of the scale.
uint8_t random_code(Random& random, float (*scale_of)(int), int least, int most, float scale) {
  int code = least;
  while (code + 1 < most && scale_of(code + 1) <= scale) ++code;
  const float low = scale_of(code), high = scale_of(code + 1);
  const float share_of_high = (scale * scale - low * low) / (high * high - low * low);
  return static_cast<uint8_t>(random_between(random, 0, 1) < share_of_high ? code + 1 : code);
}

void set_scales(Random& random, TensorType type, float scale, std::byte* block) {
  if (const ScaleFields* fields = find_scale_fields(type)) {
    put_f16(block + fields->scale_at, scale);
    if (fields->offset_ratio != 0) put_f16(block + fields->offset_at, scale * fields->offset_ratio);
  } else if (type == TensorType::IQ1_M) {
    put_scale_iq1_m(block, scale);
  } else if (type == TensorType::MXFP4) {
    block[0] = std::byte{random_code(random, scale_of_mxfp4, 2, 254, scale)};
  } else {
    for (int j = 0; j < 4; ++j) block[j] = std::byte{random_code(random, scale_of_nvfp4, 0, 126, scale)};
  }
}

// Two bits are 0, 1 or 2 in files; 3 becomes 1.
void make_ternary(std::span<std::byte> codes) {
  for (std::byte& four : codes) four &= ~((four & four << 1) & std::byte{0xAA});
}

void fill_floats(Random& random, TensorType type, float deviation, std::span<std::byte> bytes) {
  const size_t value_bytes = gguf::type_layout(type).block_bytes;
  for (size_t i = 0; i < bytes.size(); i += value_bytes) {
    const float value = deviation * random_normal(random);
    const uint16_t half = type == TensorType::F16 ? reference::f32_to_f16(value) : reference::f32_to_bf16(value);
    if (type == TensorType::F32)
      std::memcpy(bytes.data() + i, &value, sizeof value);
    else
      std::memcpy(bytes.data() + i, &half, sizeof half);
  }
}

// Blocks of random codes whose scales are `scale`, a little more or a little less.
void fill_quantised(Random& random, TensorType type, float scale, std::span<std::byte> bytes) {
  const size_t block_bytes = gguf::type_layout(type).block_bytes;
  fill_random_bits(random, bytes);
  for (size_t i = 0; i < bytes.size(); i += block_bytes) {
    std::byte* block = bytes.data() + i;
    if (type == TensorType::TQ2_0) make_ternary({block, 64});
    set_scales(random, type, scale * random_between(random, 0.75f, 1.25f), block);
  }
}

// The standard deviation of the weights of fill_quantised() with a scale of 1.
float deviation_of_unit_scale(TensorType type) {
  constexpr int64_t kValues = 65536;
  const gguf::TypeLayout& layout = gguf::type_layout(type);
  std::vector<std::byte> blocks(static_cast<size_t>(kValues / layout.block_values) * layout.block_bytes);
  Random random(1);
  fill_quantised(random, type, 1, blocks);
  std::vector<float> values(kValues);
  reference::dequantize(type, blocks.data(), kValues, values.data());
  double squares = 0;
  for (const float value : values) squares += static_cast<double>(value) * value;
  return static_cast<float>(std::sqrt(squares / kValues));
}

}  // namespace

bool has_random_blocks(TensorType type) {
  return is_float(type) || find_scale_fields(type) != nullptr || type == TensorType::IQ1_M ||
         type == TensorType::MXFP4 || type == TensorType::NVFP4;
}

void fill_random_blocks(TensorType type, float deviation, uint64_t seed, std::span<std::byte> blocks) {
  if (!has_random_blocks(type)) throw std::invalid_argument("Random weights of this type cannot be made.");
  const gguf::TypeLayout& layout = gguf::type_layout(type);
  if (blocks.size() % layout.block_bytes != 0)
    throw std::invalid_argument("The random weights asked for are no whole number of blocks of " +
                                std::string(layout.name) + ".");
  Random random(seed);
  if (is_float(type))
    fill_floats(random, type, deviation, blocks);
  else
    fill_quantised(random, type, deviation / deviation_of_unit_scale(type), blocks);
}

}  // namespace sluice::kernels
