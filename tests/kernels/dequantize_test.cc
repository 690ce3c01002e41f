// Blocks of every type against goldens of the Python package `gguf`.
#include "kernels/reference/dequantize.h"

#include <doctest/doctest.h>

#include <set>

#include "kernels/format.h"
#include "kernels/reference/iq_grids.h"
#include "tests/kernels/golden.h"

using namespace sluice;
using namespace sluice::kernels;
using sluice::test::first_difference;
using sluice::test::Golden;

TEST_CASE("every tensor type dequantises bit for bit as the goldens say, from any address") {
  for (const gguf::TypeLayout& layout : gguf::all_type_layouts()) {
    CAPTURE(layout.name);
    Golden golden("dequantize/" + std::string(layout.name) + ".bin");
    const uint32_t n_blocks = golden.read<uint32_t>(1)[0];
    REQUIRE(n_blocks >= 12);
    const std::vector<std::byte> blocks = golden.read<std::byte>(size_t{n_blocks} * layout.block_bytes);
    const std::vector<float> expected = golden.read<float>(size_t{n_blocks} * layout.block_values);
    CHECK(golden.at_end());

    for (size_t shift : {0, 1, 3}) {
      CAPTURE(shift);
      std::vector<std::byte> moved(shift);
      moved.insert(moved.end(), blocks.begin(), blocks.end());
      std::vector<float> values(expected.size(), -12345.0f);
      reference::dequantize(layout.type, moved.data() + shift, static_cast<int64_t>(values.size()), values.data());
      CHECK(first_difference(values, expected) == -1);
    }
  }
}

TEST_CASE("dequantising writes the asked number of values and no more") {
  for (const gguf::TypeLayout& layout : gguf::all_type_layouts()) {
    CAPTURE(layout.name);
    const std::vector<std::byte> blocks(3 * size_t{layout.block_bytes}, std::byte{0x2A});
    std::vector<float> values(3 * size_t{layout.block_values} + 1, -12345.0f);
    reference::dequantize(layout.type, blocks.data(), layout.block_values * 2, values.data());
    CHECK(values[2 * layout.block_values - 1] != -12345.0f);
    CHECK(values[2 * layout.block_values] == -12345.0f);
    reference::dequantize(layout.type, blocks.data(), 0, values.data());
  }
}

TEST_CASE("a number of values that is no whole number of blocks is refused") {
  std::vector<std::byte> blocks(512);
  std::vector<float> values(512);
  CHECK_THROWS_AS(reference::dequantize(gguf::TensorType::Q8_0, blocks.data(), 33, values.data()),
                  std::invalid_argument);
  CHECK_THROWS_AS(reference::dequantize(gguf::TensorType::Q4_K, blocks.data(), 128, values.data()),
                  std::invalid_argument);
  CHECK_THROWS_AS(reference::dequantize(gguf::TensorType::F32, blocks.data(), -1, values.data()),
                  std::invalid_argument);
  CHECK_THROWS_AS(reference::dequantize(static_cast<gguf::TensorType>(4), blocks.data(), 32, values.data()),
                  std::invalid_argument);
}

TEST_CASE("the packed IQ grids unfold to the grids of the format") {
  Golden golden("dequantize/iq_grids.bin");
  auto check = [&](const uint16_t* grid, size_t n_entries, int n_values, auto value_of) {
    const std::vector<int8_t> expected = golden.read<int8_t>(n_entries * static_cast<size_t>(n_values));
    size_t n_wrong = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      const size_t per_entry = static_cast<size_t>(n_values);
      n_wrong += value_of(grid[i / per_entry], static_cast<int>(i % per_entry)) != expected[i];
    }
    CHECK(n_wrong == 0);
    CHECK(std::set(grid, grid + n_entries).size() == n_entries);
  };
  check(reference::kGridIq1, 2048, 8, reference::iq1_value);
  check(reference::kGridIq2Xxs, 256, 8, reference::iq2_value);
  check(reference::kGridIq2Xs, 512, 8, reference::iq2_value);
  check(reference::kGridIq2S, 1024, 8, reference::iq2_value);
  check(reference::kGridIq3Xxs, 256, 4, reference::iq3_xxs_value);
  check(reference::kGridIq3S, 512, 4, reference::iq3_s_value);
  CHECK(golden.at_end());
}

TEST_CASE("the format table has one row for every type of the format") {
  const auto layouts = gguf::all_type_layouts();
  REQUIRE(all_formats().size() == layouts.size());
  for (size_t i = 0; i < layouts.size(); ++i) {
    const Format& format = all_formats()[i];
    CAPTURE(layouts[i].name);
    CHECK(format.type == layouts[i].type);
    CHECK(format.layout == &layouts[i]);
    CHECK((format.dequantize != nullptr));
    CHECK(&format_of(layouts[i].type) == &format);
    CHECK(find_format(layouts[i].type) == &format);
    switch (layouts[i].block_values) {
      case 1:
        CHECK((format.activation == ActivationFormat::F32 || format.activation == ActivationFormat::None));
        break;
      case 256:
        CHECK(format.activation == ActivationFormat::Per256);
        break;
      default:
        CHECK(format.activation == ActivationFormat::Per32);
    }
  }
  CHECK(format_of(gguf::TensorType::BF16).activation == ActivationFormat::F32);
  CHECK(format_of(gguf::TensorType::I32).activation == ActivationFormat::None);
  CHECK(find_format(static_cast<gguf::TensorType>(4)) == nullptr);
  CHECK(find_format(static_cast<gguf::TensorType>(1000)) == nullptr);
  CHECK_THROWS_AS(format_of(static_cast<gguf::TensorType>(36)), std::invalid_argument);
}
