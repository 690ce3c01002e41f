// The operations on rows, of every instruction set that this machine has, against the reference.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/router.h"
#include "kernels/cpu/row_operations.h"
#include "kernels/reference/cache_rows.h"
#include "kernels/reference/rms_norm.h"
#include "kernels/reference/rope.h"
#include "kernels/reference/softmax.h"
#include "kernels/reference/swiglu.h"

using namespace sluice::kernels;

namespace {

std::vector<float> normal_values(size_t n, uint32_t seed, float spread = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> values(n);
  for (float& v : values) v = normal(random);
  return values;
}

const std::vector<RowOperations>& all_sets() {
  static const std::vector<RowOperations> sets = [] {
    std::vector<RowOperations> found;
    for (const Isa isa : {Isa::Reference, Isa::Avx2, Isa::Avx512, Isa::Avx512Vnni})
      if (machine_has(isa)) found.push_back(row_operations_at(isa));
    return found;
  }();
  return sets;
}

// Distance in units of the last place, at `floor` when both are smaller.
double ulps(float a, float b, float floor = 1e-37f) {
  const float size = std::max({std::fabs(a), std::fabs(b), floor});
  const double unit = double{std::nextafter(size, INFINITY)} - double{size};
  return std::fabs(double{a} - double{b}) / unit;
}

// Values that an instruction set may treat in a way of its own.
const std::vector<float> kOddValues = {0.0f,     -0.0f,     1e-45f, -1e-38f, 1e-30f,  0.5f,    1.5f,
                                       2.5f,     -2.5f,     65504,  65520,   -70000,  1e10f,   3e38f,
                                       INFINITY, -INFINITY, NAN,    -NAN,    6.1e-5f, 5.9e-8f, 1.0009765f};

}  // namespace

TEST_CASE("cache rows have the reference's bits in every type, at every length, and read back from any column") {
  for (const RowOperations& set : all_sets())
    for (const CacheType type : {CacheType::F32, CacheType::F16, CacheType::BF16, CacheType::Q8_0})
      for (int64_t n = 1; n < 150; ++n) {
        auto values = normal_values(static_cast<size_t>(n), static_cast<uint32_t>(n), 3);
        if (n % 3 == 0)
          for (size_t i = 0; i < kOddValues.size() && i < values.size(); ++i) values[i] = kOddValues[i];
        if (n % 7 == 0) std::fill(values.begin(), values.end(), n % 2 == 0 ? 0.0f : 1e-40f);
        const auto bytes = static_cast<size_t>(cache_row_bytes(type, n));
        std::vector<char> expected(bytes + 3, 'x'), row(bytes + 3, 'x');
        reference::store_cache_row(type, values.data(), n, expected.data());
        set.store_cache_row(type, values.data(), n, row.data());
        CAPTURE(static_cast<int>(type));
        CAPTURE(n);
        CHECK(row == expected);
        std::vector<float> read(static_cast<size_t>(n) + 1, 7), expected_read(read);
        reference::load_cache_row(type, expected.data(), n, expected_read.data());
        set.load_cache_row(type, expected.data(), n, read.data());
        CHECK(std::memcmp(read.data(), expected_read.data(), read.size() * sizeof(float)) == 0);
      }
}

TEST_CASE("a row of q8_0 keeps every value within half a step and the rounding of the scale") {
  const auto values = normal_values(576, 3);
  std::vector<char> row(static_cast<size_t>(cache_row_bytes(CacheType::Q8_0, 576)));
  CHECK(row.size() == 18 * 34);
  reference::store_cache_row(CacheType::Q8_0, values.data(), 576, row.data());
  std::vector<float> read(576);
  reference::load_cache_row(CacheType::Q8_0, row.data(), 576, read.data());
  for (size_t b = 0; b < 18; ++b) {
    float amax = 0;
    for (size_t i = b * 32; i < b * 32 + 32; ++i) amax = std::max(amax, std::fabs(values[i]));
    for (size_t i = b * 32; i < b * 32 + 32; ++i)
      CHECK(std::fabs(read[i] - values[i]) <= amax * (0.5f / 127 + 0x1p-11f));
  }
}

TEST_CASE("the 8-bit forms of activations have the reference's bits, whatever the values") {
  for (const RowOperations& set : all_sets())
    for (uint32_t seed = 0; seed < 200; ++seed) {
      auto values = normal_values(1024, seed, std::pow(10.0f, static_cast<float>(seed % 70) - 35));
      if (seed % 5 == 1) std::fill_n(values.begin() + 256, 256, 0.0f);
      if (seed % 5 == 2) values[300] = 3e38f;
      if (seed % 5 == 3)
        for (size_t i = 0; i < 14; ++i) values[512 + i] = kOddValues[i];
      if (seed % 5 == 4)  // ties: 127 makes the scale one
        for (size_t i = 0; i < 1024; ++i)
          values[i] = i % 256 == 0 ? 127 : static_cast<float>(static_cast<int>(i % 200) - 100) + 0.5f;
      std::vector<reference::Activation32> expected32(32), blocks32(32);
      std::vector<reference::Activation256> expected256(4), blocks256(4);
      CHECK(reference::quantize_per32(values.data(), 1024, expected32.data()));
      CHECK(reference::quantize_per256(values.data(), 1024, expected256.data()));
      CHECK(set.quantize_per32(values.data(), 1024, blocks32.data()));
      CHECK(set.quantize_per256(values.data(), 1024, blocks256.data()));
      CHECK(std::memcmp(blocks32.data(), expected32.data(), sizeof blocks32[0] * 32) == 0);
      CHECK(std::memcmp(blocks256.data(), expected256.data(), sizeof blocks256[0] * 4) == 0);
      for (const float bad : {INFINITY, -INFINITY, static_cast<float>(NAN)}) {
        values[seed * 5] = bad;
        CHECK_FALSE(set.quantize_per32(values.data(), 1024, blocks32.data()));
        CHECK_FALSE(set.quantize_per256(values.data(), 1024, blocks256.data()));
      }
    }
}

TEST_CASE("norms, gates and sums agree with the reference at every length") {
  for (const RowOperations& set : all_sets())
    for (const int64_t n : {1, 3, 7, 8, 9, 31, 32, 33, 64, 100, 576, 1000, 7168}) {
      const auto size = static_cast<size_t>(n);
      const auto x = normal_values(size, 1, 20), y = normal_values(size, 2), z = normal_values(size, 3);
      CAPTURE(n);
      std::vector<float> out(size + 1, 7), expected(size);
      set.rms_norm(x.data(), y.data(), n, 1e-6f, out.data());
      reference::rms_norm(x.data(), y.data(), 1, n, 1e-6f, expected.data());
      double worst = 0;
      for (size_t i = 0; i < size; ++i) worst = std::max(worst, ulps(out[i], expected[i]));
      CHECK(worst <= 2);

      std::copy(x.begin(), x.end(), out.begin());
      for (size_t i = 0; i < std::min(size, size_t{8}); ++i)
        out[i] = std::vector<float>{0, -0.0f, 87, -87, 200, -200, 1e-30f, -1e30f}[i];
      reference::swiglu(out.data(), y.data(), n, expected.data());
      set.swiglu(out.data(), y.data(), n);
      worst = 0;
      for (size_t i = 0; i < size; ++i)
        if (std::fabs(out[i] - expected[i]) > 1e-36f) worst = std::max(worst, ulps(out[i], expected[i]));
      CHECK(worst <= 4);

      std::copy(x.begin(), x.end(), out.begin());
      set.add(y.data(), out.data(), n);
      for (size_t i = 0; i < size; ++i) expected[i] = x[i] + y[i];
      CHECK(std::equal(expected.begin(), expected.end(), out.begin()));

      const float* const rows[] = {x.data(), y.data(), z.data()};
      const float weights[] = {0.3f, -0.7f, 2.1f};
      for (size_t i = 0; i < size; ++i) expected[i] = (0.3f * x[i] + -0.7f * y[i]) + 2.1f * z[i];
      set.weighted_sum(rows, weights, 3, n, out.data());
      CHECK(std::equal(expected.begin(), expected.end(), out.begin()));
      CHECK(out[size] == 7);
    }
}

TEST_CASE("sigmoids and softmax are the reference's") {
  for (const RowOperations& set : all_sets())
    for (const int64_t n : {1, 2, 3, 4, 5, 7, 64, 255, 256}) {
      for (const float spread : {0.1f, 5.0f, 60.0f, 400.0f}) {
        const auto size = static_cast<size_t>(n);
        const auto x = normal_values(size, static_cast<uint32_t>(n), spread);
        std::vector<float> out(size + 1, 7), expected(size);
        set.sigmoid(x.data(), n, out.data());
        for (size_t i = 0; i < size; ++i) expected[i] = reference::sigmoid(x[i]);
        size_t n_different = 0;
        for (size_t i = 0; i < size; ++i)
          n_different += out[i] != expected[i] && ulps(out[i], expected[i]) > 1e-6 ? 1 : 0;
        CHECK(n_different == 0);
        set.softmax(x.data(), n, out.data());
        reference::softmax(x.data(), n, expected.data());
        n_different = 0;
        for (size_t i = 0; i < size; ++i) n_different += out[i] != expected[i] && ulps(out[i], expected[i]) > 1 ? 1 : 0;
        CHECK(n_different == 0);
        CHECK(out[size] == 7);
      }
      std::vector<float> masked(static_cast<size_t>(n), -INFINITY), out(static_cast<size_t>(n), 7);
      set.softmax(masked.data(), n, out.data());
      CHECK(std::ranges::all_of(out, [](float v) { return v == 0; }));
    }
}

TEST_CASE("rotation has the reference's bits for every size of head and both pairings") {
  for (const RowOperations& set : all_sets())
    for (const int64_t n_pairs : {1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 32, 64})
      for (const bool interleaved : {false, true}) {
        const auto cosines = normal_values(static_cast<size_t>(n_pairs), 1),
                   sines = normal_values(static_cast<size_t>(n_pairs), 2);
        auto head = normal_values(static_cast<size_t>(2 * n_pairs) + 3, 3);
        auto expected = head;
        set.rope(head.data(), n_pairs, interleaved, cosines.data(), sines.data());
        kRowOperationsBaseline.rope(expected.data(), n_pairs, interleaved, cosines.data(), sines.data());
        CHECK(head == expected);
      }
}

TEST_CASE("the fast router chooses what the reference chooses, with the same weights") {
  std::mt19937 random(5);
  for (int round = 0; round < 400; ++round) {
    reference::RouterRule rule{};
    rule.n_groups = std::vector<int64_t>{1, 1, 2, 4, 8}[random() % 5];
    rule.n_experts = rule.n_groups * static_cast<int64_t>(1 + random() % 33);
    rule.n_chosen_groups = 1 + static_cast<int64_t>(random() % static_cast<uint32_t>(rule.n_groups));
    const int64_t most = rule.n_experts / rule.n_groups * rule.n_chosen_groups;
    rule.n_chosen = 1 + static_cast<int64_t>(random() % static_cast<uint32_t>(std::min<int64_t>(most, 12)));
    rule.gating = random() % 2 == 0 ? reference::Gating::Softmax : reference::Gating::Sigmoid;
    rule.normalize = random() % 2 == 0;
    rule.scale = 2.5f;
    rule.group_score = random() % 2 == 0 ? reference::GroupScore::Max : reference::GroupScore::TopTwoSum;
    auto logits =
        normal_values(static_cast<size_t>(rule.n_experts), static_cast<uint32_t>(round), round % 4 == 0 ? 50.0f : 1.0f);
    if (round % 3 == 0)  // ties
      for (float& x : logits) x = std::round(x);
    if (round % 11 == 0) logits[random() % logits.size()] = NAN;
    const auto bias = normal_values(static_cast<size_t>(rule.n_experts), 77, 0.1f);
    const float* maybe_bias = round % 2 == 0 ? bias.data() : nullptr;
    const auto n = static_cast<size_t>(rule.n_chosen);
    std::vector<int32_t> ids(n), expected_ids(n);
    std::vector<float> weights(n), expected_weights(n);
    route_row(rule, logits.data(), maybe_bias, ids.data(), weights.data());
    reference::route(rule, logits.data(), maybe_bias, expected_ids.data(), expected_weights.data());
    CAPTURE(round);
    if (round % 11 == 0 && rule.gating == reference::Gating::Softmax) continue;  // all NaN: the order of NaNs is free
    CHECK(ids == expected_ids);
    for (size_t i = 0; i < n; ++i)
      CHECK((weights[i] == expected_weights[i] || ulps(weights[i], expected_weights[i]) <= 2 ||
             std::isnan(expected_weights[i])));
  }
  reference::RouterRule too_many{4, 5};
  float logits[4] = {}, weights[5];
  int32_t ids[5];
  CHECK_THROWS_AS(route_row(too_many, logits, nullptr, ids, weights), std::invalid_argument);
}
