#include "kernels/reference/rope.h"

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>
#include <random>
#include <vector>

using namespace sluice::kernels::reference;

static std::vector<float> random_values(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

static double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * b[i];
  return sum;
}

static std::vector<float> turned(const Rope& rope, int32_t position, std::vector<float> head) {
  apply_rope(rope, &position, 1, 0, 1, 0, head.data());
  return head;
}

static Rope plain(RopePairs pairs, int64_t n_dims) {
  Rope rope;
  rope.pairs = pairs;
  rope.n_dims = n_dims;
  return rope;
}

// The angles of all pairs at a position, from their cosines and sines, each in (-pi, pi].
static std::vector<double> angles(const Rope& rope, int64_t position) {
  std::vector<float> cosines(static_cast<size_t>(rope.n_dims / 2)), sines(cosines.size());
  rope_angles(rope, position, cosines.data(), sines.data());
  std::vector<double> result(cosines.size());
  for (size_t i = 0; i < result.size(); ++i) result[i] = std::atan2(double{sines[i]}, double{cosines[i]});
  return result;
}

TEST_CASE("rope keeps the length of a head and turns nothing at position zero") {
  for (RopePairs pairs : {RopePairs::Interleaved, RopePairs::Halves})
    for (size_t n_dims : {2u, 6u, 64u, 128u}) {
      const std::vector<float> head = random_values(n_dims, 3);
      const Rope rope = plain(pairs, static_cast<int64_t>(n_dims));
      CHECK(turned(rope, 0, head) == head);
      for (int32_t position : {1, 7, 1000, 163839}) {
        const std::vector<float> after = turned(rope, position, head);
        CHECK(after != head);
        CHECK(dot(after, after) == doctest::Approx(dot(head, head)).epsilon(1e-5));
      }
    }
}

TEST_CASE("the product of a turned query and a turned key depends on their distance alone") {
  for (RopePairs pairs : {RopePairs::Interleaved, RopePairs::Halves}) {
    const Rope rope = plain(pairs, 32);
    const std::vector<float> q = random_values(32, 1), k = random_values(32, 2);
    for (int32_t distance : {0, 1, 5, 100}) {
      const double expected = dot(turned(rope, distance, q), k);
      for (int32_t start : {1, 17, 5000}) {
        CAPTURE(start);
        CHECK(dot(turned(rope, start + distance, q), turned(rope, start, k)) ==
              doctest::Approx(expected).epsilon(1e-4));
      }
    }
    CHECK(dot(turned(rope, 9, q), turned(rope, 4, k)) != doctest::Approx(dot(q, k)).epsilon(1e-3));
  }
}

TEST_CASE("the two ways to pair values are as drawn, and values after n_dims stay") {
  const float c = std::cos(1.0f), s = std::sin(1.0f);
  const float c2 = static_cast<float>(std::cos(0.01)), s2 = static_cast<float>(std::sin(0.01));
  const std::vector<float> head = {1, 2, 3, 4, 5};  // four values turn; pair 1 turns by 10000^(-1/2)
  const std::vector<float> interleaved = turned(plain(RopePairs::Interleaved, 4), 1, head);
  const std::vector<float> halves = turned(plain(RopePairs::Halves, 4), 1, head);
  const float expected_interleaved[] = {1 * c - 2 * s, 1 * s + 2 * c, 3 * c2 - 4 * s2, 3 * s2 + 4 * c2, 5};
  const float expected_halves[] = {1 * c - 3 * s, 2 * c2 - 4 * s2, 1 * s + 3 * c, 2 * s2 + 4 * c2, 5};
  for (size_t i = 0; i < 5; ++i) {
    CHECK(interleaved[i] == doctest::Approx(expected_interleaved[i]));
    CHECK(halves[i] == doctest::Approx(expected_halves[i]));
  }
}

TEST_CASE("rows and heads lie at their strides, and the values between are left alone") {
  const Rope rope = plain(RopePairs::Interleaved, 4);
  const std::vector<float> all =
      random_values(2 * 40, 8);  // two rows of 40: three heads of 11, whose last 4 turn, and 7 to spare
  std::vector<float> x = all;
  const int32_t positions[] = {3, 9};
  apply_rope(rope, positions, 2, 40, 3, 11, x.data() + 7);
  for (size_t r = 0; r < 2; ++r)
    for (size_t i = 0; i < 40; ++i) {
      CAPTURE(i);
      const size_t head = i / 11, inside = i % 11;
      if (head >= 3 || inside < 7) {
        CHECK(x[r * 40 + i] == all[r * 40 + i]);
        continue;
      }
      const float* first = &all[r * 40 + head * 11 + 7];
      CHECK(x[r * 40 + i] == turned(rope, positions[r], {first, first + 4})[inside - 7]);
    }
}

TEST_CASE("linear scaling stretches all pairs, and frequency factors each pair by its own") {
  Rope linear = plain(RopePairs::Halves, 16);
  linear.freq_scale = 0.25f;
  const Rope rope = plain(RopePairs::Halves, 16);
  for (size_t i = 0; i < 8; ++i) CHECK(angles(linear, 12)[i] == doctest::Approx(angles(rope, 3)[i]));

  const std::vector<float> factors = {1, 1, 2, 4, 8, 8, 8, 8};
  Rope llama3 = rope;
  llama3.frequency_factors = factors.data();
  for (size_t i = 0; i < 8; ++i) CHECK(angles(llama3, 3)[i] == doctest::Approx(angles(rope, 3)[i] / factors[i]));
}

TEST_CASE(
    "YaRN as DeepSeek-R1 has it: 10 fast pairs as trained, from pair 23 on stretched forty times, a slope between") {
  Rope rope = plain(RopePairs::Interleaved, 64);
  rope.freq_scale = 1.0f / 40;
  rope.ext_factor = 1;
  rope.original_context = 4096;
  auto corr = [](double turns) { return 64 * std::log(4096 / (2 * std::numbers::pi * turns)) / (2 * std::log(1e4)); };
  const double low = std::floor(corr(32)), high = std::ceil(corr(1));
  REQUIRE(low == 10);
  REQUIRE(high == 23);
  const std::vector<double> found = angles(rope, 1);
  for (size_t i = 0; i < 32; ++i) {
    CAPTURE(i);
    const double trained = std::pow(1e4, -2.0 * static_cast<double>(i) / 64);
    const double ramp = i <= 10 ? 1 : i >= 23 ? 0 : 1 - (static_cast<double>(i) - 10) / 13;
    CHECK(found[i] == doctest::Approx(trained / 40 * (1 - ramp) + trained * ramp).epsilon(1e-5));
  }
  rope.ext_factor = 0;
  CHECK(angles(rope, 1)[0] == doctest::Approx(1.0 / 40));  // without YaRN even the fastest pair is stretched
}

TEST_CASE("the magnitude multiplies cosines and sines, and YaRN's is one plus a tenth of the logarithm") {
  CHECK(yarn_magnitude(1.0f / 40) == doctest::Approx(1.36889).epsilon(1e-5));
  CHECK(yarn_magnitude(1.0f / 40, 0.5f) == doctest::Approx(0.684444).epsilon(1e-5));
  CHECK(yarn_magnitude(1.0f) == 1);
  Rope rope = plain(RopePairs::Halves, 8);
  const std::vector<float> head = random_values(8, 4);
  const std::vector<float> once = turned(rope, 5, head);
  rope.magnitude = 2;
  const std::vector<float> twice = turned(rope, 5, head);
  for (size_t i = 0; i < 8; ++i) CHECK(twice[i] == doctest::Approx(2 * once[i]));
}

TEST_CASE("a narrow or reversed ramp divides by no zero") {
  Rope rope = plain(RopePairs::Halves, 4);
  rope.freq_scale = 0.5f;
  rope.ext_factor = 1;
  for (int64_t context : {1, 8, 100, 1000000000}) {
    rope.original_context = context;
    for (double angle : angles(rope, 1)) CHECK(std::isfinite(angle));
  }
}
