#include "kernels/random_blocks.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>
#include <vector>

#include "kernels/reference/dequantize.h"

using namespace sluice;
using namespace sluice::kernels;

namespace {

constexpr int64_t kValues = 1 << 16;

std::vector<std::byte> random_blocks(const gguf::TypeLayout& layout, float deviation, uint64_t seed) {
  std::vector<std::byte> blocks(static_cast<size_t>(kValues / layout.block_values) * layout.block_bytes);
  fill_random_blocks(layout.type, deviation, seed, blocks);
  return blocks;
}

}  // namespace

TEST_CASE("random weights of every type are finite, centred, and as large as asked") {
  int n_types = 0;
  for (const gguf::TypeLayout& layout : gguf::all_type_layouts()) {
    if (!has_random_blocks(layout.type)) continue;
    ++n_types;
    for (const float deviation : {1.0f, 1 / std::sqrt(2048.0f), 1 / std::sqrt(18432.0f)}) {
      CAPTURE(layout.name);
      CAPTURE(deviation);
      std::vector<float> values(kValues);
      reference::dequantize(layout.type, random_blocks(layout, deviation, 7).data(), kValues, values.data());
      double sum = 0, squares = 0;
      for (const float value : values) {
        sum += value;
        squares += static_cast<double>(value) * value;
      }
      CHECK(std::isfinite(squares));
      CHECK(std::abs(sum / kValues) < 0.15 * deviation);
      CHECK(std::sqrt(squares / kValues) == doctest::Approx(deviation).epsilon(0.03));
      const std::set<float> distinct(values.begin(), values.end());
      CHECK(distinct.size() >= 15);  // the formats with 4-bit floats have two scales here
    }
  }
  CHECK(n_types == 27);
}

TEST_CASE("the same seed gives the same blocks, another one others") {
  for (const gguf::TypeLayout& layout : gguf::all_type_layouts()) {
    if (!has_random_blocks(layout.type)) continue;
    CAPTURE(layout.name);
    CHECK(random_blocks(layout, 0.02f, 1) == random_blocks(layout, 0.02f, 1));
    CHECK(random_blocks(layout, 0.02f, 1) != random_blocks(layout, 0.02f, 2));
  }
}

TEST_CASE("ternary weights never have the fourth code") {
  const auto blocks = random_blocks(gguf::type_layout(gguf::TensorType::TQ2_0), 1, 3);
  std::vector<float> values(kValues);
  reference::dequantize(gguf::TensorType::TQ2_0, blocks.data(), kValues, values.data());
  for (int64_t i = 0; i < kValues; i += 256) {
    const auto [least, most] = std::minmax_element(values.begin() + i, values.begin() + i + 256);
    CHECK(*least == -*most);
  }
}

TEST_CASE("types that are no weights, and parts of blocks, are refused") {
  std::vector<std::byte> bytes(36 * 292);
  for (const gguf::TensorType type : {gguf::TensorType::Q8_1, gguf::TensorType::Q8_K, gguf::TensorType::I32,
                                      gguf::TensorType::F64, static_cast<gguf::TensorType>(4)}) {
    CHECK_FALSE(has_random_blocks(type));
    CHECK_THROWS_AS(fill_random_blocks(type, 1, 1, bytes), std::invalid_argument);
  }
  CHECK_THROWS_AS(fill_random_blocks(gguf::TensorType::Q4_K, 1, 1, std::span(bytes).first(145)), std::invalid_argument);
}
