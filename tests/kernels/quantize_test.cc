#include "kernels/reference/quantize.h"

#include <doctest/doctest.h>

#include <random>

#include "kernels/format.h"
#include "kernels/reference/dequantize.h"
#include "tests/kernels/golden.h"

using namespace sluice;
using namespace sluice::kernels;
using gguf::TensorType;

static std::vector<float> random_values(size_t n, float scale) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

static std::vector<std::byte> quantized(TensorType type, const std::vector<float>& values) {
  const gguf::TypeLayout& layout = gguf::type_layout(type);
  std::vector<std::byte> blocks(values.size() / layout.block_values * layout.block_bytes);
  reference::quantize(type, values.data(), static_cast<int64_t>(values.size()), blocks.data());
  return blocks;
}

static std::vector<float> there_and_back(TensorType type, const std::vector<float>& values) {
  const std::vector<std::byte> blocks = quantized(type, values);
  std::vector<float> back(values.size());
  reference::dequantize(type, blocks.data(), static_cast<int64_t>(back.size()), back.data());
  return back;
}

TEST_CASE("quantising gives the bytes of the goldens") {
  for (TensorType type : {TensorType::Q4_0, TensorType::Q4_1, TensorType::Q5_0, TensorType::Q5_1, TensorType::Q8_0}) {
    const gguf::TypeLayout& layout = gguf::type_layout(type);
    CAPTURE(layout.name);
    test::Golden golden("dequantize/quantize_" + std::string(layout.name) + ".bin");
    const uint32_t n = golden.read<uint32_t>(1)[0];
    const std::vector<float> values = golden.read<float>(n);
    const auto expected = golden.read<std::byte>(size_t{n} / layout.block_values * layout.block_bytes);
    CHECK(golden.at_end());
    const std::vector<std::byte> blocks = quantized(type, values);
    for (size_t i = 0; i < expected.size(); i += layout.block_bytes) {
      CAPTURE(i / layout.block_bytes);
      CHECK(std::equal(&expected[i], &expected[i] + layout.block_bytes, &blocks[i]));
    }
  }
}

TEST_CASE("what is quantised comes back within half a step") {
  struct Case {
    TensorType type;
    float steps;  // between the largest magnitude and zero
  };
  const std::vector<float> values = random_values(1024, 0.02f);
  for (const Case& c : {Case{TensorType::Q8_0, 127}, Case{TensorType::Q8_1, 127}, Case{TensorType::Q8_K, 127},
                        Case{TensorType::Q5_1, 15.5f}, Case{TensorType::Q4_1, 7.5f}}) {
    const gguf::TypeLayout& layout = gguf::type_layout(c.type);
    CAPTURE(layout.name);
    const std::vector<float> back = there_and_back(c.type, values);
    for (size_t start = 0; start < values.size(); start += layout.block_values) {
      float amax = 0, worst = 0;
      for (size_t i = start; i < start + layout.block_values; ++i) {
        amax = std::max(amax, std::fabs(values[i]));
        worst = std::max(worst, std::fabs(values[i] - back[i]));
      }
      CHECK(worst <= amax / c.steps * 0.51f + amax * 0.001f);
      CHECK(worst > 0);
    }
  }
  CHECK(there_and_back(TensorType::F32, values) == values);
}

TEST_CASE("Q8_1 and Q8_K store the sums that belong to their codes") {
  const std::vector<float> values = random_values(512, 3.0f);
  const std::vector<std::byte> q8_1 = quantized(TensorType::Q8_1, values);
  for (size_t block = 0; block < 16; ++block) {
    const std::byte* bytes = &q8_1[block * 36];
    float expected = 0, sum;
    std::byte stored[2] = {bytes[2], bytes[3]};
    reference::dequantize(TensorType::F16, stored, 1, &sum);
    float decoded[32];
    reference::dequantize(TensorType::Q8_1, bytes, 32, decoded);
    for (float value : decoded) expected += value;
    CHECK(sum == doctest::Approx(expected).epsilon(0.002));
  }
  const std::vector<std::byte> q8_k = quantized(TensorType::Q8_K, values);
  for (size_t block = 0; block < 2; ++block)
    for (size_t group = 0; group < 16; ++group) {
      int16_t sum;
      std::memcpy(&sum, &q8_k[block * 292 + 260 + group * 2], 2);
      int expected = 0;
      for (size_t i = 0; i < 16; ++i) expected += static_cast<int8_t>(q8_k[block * 292 + 4 + group * 16 + i]);
      CHECK(sum == expected);
    }
}

TEST_CASE("blocks of zeros and of the tiniest numbers quantise to zeros") {
  for (const Format& format : all_formats()) {
    if (!reference::can_quantize(format.type) || format.layout->block_values == 1) continue;
    CAPTURE(format.layout->name);
    for (float tiny : {0.0f, -0.0f, 1e-45f, -1e-40f})
      for (float value : there_and_back(format.type, std::vector<float>(256, tiny))) CHECK(value == 0);
  }
}

TEST_CASE("quantising refuses what it cannot hold") {
  std::vector<std::byte> blocks(2048);
  std::vector<float> values(256, 1.0f);
  CHECK_THROWS_AS(reference::quantize(TensorType::Q4_K, values.data(), 256, blocks.data()), std::invalid_argument);
  CHECK_THROWS_AS(reference::quantize(TensorType::Q8_0, values.data(), 31, blocks.data()), std::invalid_argument);
  for (float bad : {INFINITY, -INFINITY, NAN}) {
    CAPTURE(bad);
    values[17] = bad;
    for (const Format& format : all_formats()) {
      if (!reference::can_quantize(format.type) || format.layout->block_values == 1) continue;
      CAPTURE(format.layout->name);
      CHECK_THROWS_AS(reference::quantize(format.type, values.data(), 256, blocks.data()), std::invalid_argument);
    }
  }
  values[17] = 3e38f;
  values[18] = -3e38f;  // their difference is no float
  for (TensorType type : {TensorType::Q8_0, TensorType::Q4_0, TensorType::Q4_1, TensorType::Q5_1})
    CHECK_THROWS_AS(reference::quantize(type, values.data(), 256, blocks.data()), std::invalid_argument);
  CHECK_NOTHROW(reference::quantize(TensorType::Q8_K, values.data(), 256, blocks.data()));
}
