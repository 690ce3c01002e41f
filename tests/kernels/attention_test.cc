#include "kernels/reference/attention.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <stdexcept>
#include <vector>

using namespace sluice::kernels::reference;

static std::vector<float> random_values(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

TEST_CASE("attention is the softmax-weighted sum of the visible values, for odd shapes of heads") {
  struct Case {
    int64_t n_heads, n_kv_heads, key_dim, value_dim, n_cached;
  };
  for (const Case& c : {Case{1, 1, 1, 1, 1}, Case{4, 4, 8, 8, 5}, Case{6, 2, 7, 3, 9}, Case{8, 1, 24, 16, 33}}) {
    CAPTURE(c.n_heads);
    const AttentionShape shape{c.n_heads, c.n_kv_heads, c.key_dim, c.value_dim, 0.37f};
    const std::vector<int64_t> n_visible = {c.n_cached, 1, (c.n_cached + 1) / 2};
    const size_t n_heads = static_cast<size_t>(c.n_heads), n_kv_heads = static_cast<size_t>(c.n_kv_heads);
    const size_t key_dim = static_cast<size_t>(c.key_dim), value_dim = static_cast<size_t>(c.value_dim);
    const size_t n_cached = static_cast<size_t>(c.n_cached);
    const auto q = random_values(3 * n_heads * key_dim, 1), k = random_values(n_cached * n_kv_heads * key_dim, 2);
    const auto v = random_values(n_cached * n_kv_heads * value_dim, 3);
    std::vector<float> out(3 * n_heads * value_dim, NAN);
    attention(shape, q.data(), k.data(), v.data(), n_visible.data(), 3, out.data());

    for (size_t r = 0; r < 3; ++r)
      for (size_t h = 0; h < n_heads; ++h) {
        const size_t g = h * n_kv_heads / n_heads, visible = static_cast<size_t>(n_visible[r]);
        std::vector<double> expected(value_dim);
        double sum = 0;
        for (size_t p = 0; p < visible; ++p) {
          double score = 0;
          for (size_t i = 0; i < key_dim; ++i)
            score += double{q[(r * n_heads + h) * key_dim + i]} * k[(p * n_kv_heads + g) * key_dim + i];
          const double weight = std::exp(0.37 * score);
          sum += weight;
          for (size_t i = 0; i < value_dim; ++i) expected[i] += weight * v[(p * n_kv_heads + g) * value_dim + i];
        }
        for (size_t i = 0; i < value_dim; ++i)
          CHECK(std::fabs(out[(r * n_heads + h) * value_dim + i] - expected[i] / sum) < 2e-6);
      }
  }
}

TEST_CASE("what is not visible has no influence, and nothing visible gives zeros") {
  const AttentionShape shape{2, 1, 4, 4, 0.5f};
  const auto q = random_values(8, 1);
  auto k = random_values(6 * 4, 2), v = random_values(6 * 4, 3);
  const int64_t three = 3, none = 0;
  std::vector<float> before(8), after(8);
  attention(shape, q.data(), k.data(), v.data(), &three, 1, before.data());
  for (size_t i = 3 * 4; i < k.size(); ++i) k[i] = v[i] = NAN;
  attention(shape, q.data(), k.data(), v.data(), &three, 1, after.data());
  CHECK(before == after);
  attention(shape, q.data(), k.data(), v.data(), &none, 1, after.data());
  CHECK(after == std::vector<float>(8, 0.0f));
}

TEST_CASE("scores far beyond the range of exp still choose the largest") {
  const AttentionShape shape{1, 1, 1, 1, 1.0f};
  const float q = 1000, k[] = {1, 5, 3}, v[] = {10, 20, 30};
  const int64_t n_visible = 3;
  float out;
  attention(shape, &q, k, v, &n_visible, 1, &out);
  CHECK(out == 20);
}

TEST_CASE("heads that do not divide are refused") {
  const int64_t n_visible = 1;
  float x[8] = {};
  CHECK_THROWS_AS(attention({3, 2, 1, 1, 1.0f}, x, x, x, &n_visible, 1, x), std::invalid_argument);
  CHECK_THROWS_AS(attention({3, 0, 1, 1, 1.0f}, x, x, x, &n_visible, 1, x), std::invalid_argument);
}
