#include "kernels/reference/activations.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

using namespace sluice::kernels::reference;

static std::vector<float> random_values(size_t n, float scale) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

TEST_CASE("an activation block is the value divided by a 127th of the largest magnitude, rounded") {
  for (float scale : {1e-30f, 1e-3f, 1.0f, 1e6f, 1e37f}) {
    CAPTURE(scale);
    const std::vector<float> values = random_values(768, scale);
    std::vector<Activation32> per32(24);
    std::vector<Activation256> per256(3);
    REQUIRE(quantize_per32(values.data(), 768, per32.data()));
    REQUIRE(quantize_per256(values.data(), 768, per256.data()));
    auto check = [&](const auto& block, const float* x, size_t n) {
      float amax = 0;
      for (size_t i = 0; i < n; ++i) amax = std::max(amax, std::fabs(x[i]));
      CHECK(block.scale == amax / 127);
      int largest = 0;
      for (size_t i = 0; i < n; ++i) {
        CHECK(std::fabs(block.q[i] - double{x[i]} * 127 / amax) <= 0.5001);
        largest = std::max(largest, std::abs(int{block.q[i]}));
      }
      CHECK(largest == 127);
    };
    for (size_t i = 0; i < per32.size(); ++i) {
      check(per32[i], &values[i * 32], 32);
      int sum = 0;
      for (int8_t q : per32[i].q) sum += q;
      CHECK(per32[i].sum == sum);
    }
    for (size_t i = 0; i < per256.size(); ++i) {
      check(per256[i], &values[i * 256], 256);
      for (size_t group = 0; group < 16; ++group) {
        int sum = 0;
        for (size_t k = 0; k < 16; ++k) sum += per256[i].q[group * 16 + k];
        CHECK(per256[i].sums[group] == sum);
      }
    }
  }
}

TEST_CASE("halves are rounded to even in activations") {
  std::vector<float> values(32, 0.0f);
  values[0] = 127;  // inverse and scale are 1
  const float halves[] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f, 125.5f};
  const int expected[] = {0, 2, 2, 0, -2, -2, 126, 126};
  std::copy(std::begin(halves), std::end(halves), values.begin() + 1);
  Activation32 block;
  REQUIRE(quantize_per32(values.data(), 32, &block));
  CHECK(block.scale == 1);
  CHECK(block.q[0] == 127);
  for (size_t i = 0; i < 8; ++i) CHECK(block.q[i + 1] == expected[i]);
  CHECK(block.sum == 127 + 252);
}

TEST_CASE("a block of zeros, or so small that its inverse overflows, is zeros with scale zero") {
  for (float tiny : {0.0f, -0.0f, std::numeric_limits<float>::denorm_min(), 1e-38f, 3.7e-37f}) {
    CAPTURE(tiny);
    std::vector<float> values(256, tiny);
    Activation32 per32;
    Activation256 per256;
    REQUIRE(quantize_per32(values.data(), 32, &per32));
    REQUIRE(quantize_per256(values.data(), 256, &per256));
    CHECK(per32.scale == 0);
    CHECK(per32.sum == 0);
    CHECK(per256.scale == 0);
    CHECK(std::all_of(per32.q, per32.q + 32, [](int8_t q) { return q == 0; }));
    CHECK(std::all_of(per256.q, per256.q + 256, [](int8_t q) { return q == 0; }));
    CHECK(std::all_of(per256.sums, per256.sums + 16, [](int16_t sum) { return sum == 0; }));
  }
  const std::vector<float> values(32, 3.8e-37f);  // just large enough; its scale is subnormal
  Activation32 block;
  REQUIRE(quantize_per32(values.data(), 32, &block));
  CHECK(block.scale > 0);
  CHECK(block.q[5] == 127);
}

TEST_CASE("activations beyond f16 keep a finite scale, up to the largest float") {
  for (float large : {70000.0f, 1e10f, std::numeric_limits<float>::max()}) {
    std::vector<float> values(256, -large);
    values[100] = large / 2;
    Activation256 block;
    REQUIRE(quantize_per256(values.data(), 256, &block));
    CHECK(std::isfinite(block.scale));
    CHECK(block.q[0] == -127);
    CHECK(block.q[100] == 64);
    CHECK(block.sums[0] == -16 * 127);
  }
}

TEST_CASE("activations that are not finite are refused") {
  for (float bad : {INFINITY, -INFINITY, NAN})
    for (size_t where : {size_t{0}, size_t{31}, size_t{300}, size_t{511}}) {
      std::vector<float> values(512, 1.0f);
      values[where] = bad;
      std::vector<Activation32> per32(16);
      std::vector<Activation256> per256(2);
      CHECK_FALSE(quantize_per32(values.data(), 512, per32.data()));
      CHECK_FALSE(quantize_per256(values.data(), 512, per256.data()));
    }
}
