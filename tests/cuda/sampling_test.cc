// The likeliest tokens, with ties and NaN.
#include "kernels/cuda/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/cuda/device.h"

using namespace sluice;
using namespace sluice::kernels;
using namespace sluice::test;

TEST_CASE("the likeliest tokens come in descending order, equal ones by id, NaN last") {
  struct Case {
    int64_t n_columns, n_top;
  };
  for (const Case c : {Case{1, 1}, {7, 7}, {1000, 1}, {1024, 256}, {1025, 256}, {3000, 40}, {9000, 256}, {33000, 1}})
    for (const int kind : {0, 1, 2}) {
      CAPTURE(c.n_columns);
      CAPTURE(kind);
      const int64_t n_rows = 2, stride = c.n_columns + 5;
      std::vector<float> logits = random_floats(static_cast<size_t>(n_rows * stride), 31);
      for (size_t i = 0; i < logits.size(); ++i) {
        if (kind == 1) logits[i] = i % 3 == 0 ? 0.0f : -0.0f;  // all equal
        if (kind == 2) logits[i] = i % 11 == 0 ? NAN : i % 7 == 0 ? -INFINITY : std::round(logits[i]);
      }
      const OnDevice<float> logits_on(logits), values_on(static_cast<size_t>(n_rows * c.n_top));
      const OnDevice<int32_t> ids_on(static_cast<size_t>(n_rows * c.n_top));
      const OnDevice<std::byte> scratch(cuda::top_k_scratch_bytes(n_rows, c.n_columns, c.n_top));
      cuda::Launches list;
      cuda::top_k(list, {logits_on.data(), stride, n_rows, c.n_columns, c.n_top, ids_on.data(), values_on.data(),
                         scratch.data()});
      run(list);
      const std::vector<int32_t> ids = ids_on.values();
      const std::vector<float> values = values_on.values();
      for (int64_t r = 0; r < n_rows; ++r) {
        const float* row = &logits[static_cast<size_t>(r * stride)];
        std::vector<int32_t> order(static_cast<size_t>(c.n_columns));
        std::iota(order.begin(), order.end(), 0);
        std::ranges::stable_sort(
            order, [&](int32_t a, int32_t b) { return std::isnan(row[b]) ? !std::isnan(row[a]) : row[a] > row[b]; });
        for (int64_t k = 0; k < c.n_top; ++k) {
          const size_t at = static_cast<size_t>(r * c.n_top + k);
          CHECK(ids[at] == order[static_cast<size_t>(k)]);
          CHECK(std::memcmp(&values[at], &row[ids[at]], 4) == 0);
        }
      }
    }
}

TEST_CASE("finding no token or too many is refused with a sentence") {
  const OnDevice<float> some(16);
  const OnDevice<int32_t> ids(16);
  const OnDevice<std::byte> scratch(4096);
  cuda::Launches list;
  for (const int64_t n_top : {int64_t{0}, int64_t{257}, int64_t{11}})
    check_refused(
        [&] {
          cuda::top_k(list, {some.data(), 10, 1, 10, n_top, ids.data(), some.data(), scratch.data()});
        },
        "1 to 256");
  check_refused(
      [&] {
        cuda::top_k(list, {some.data(), 10, 1, 0, 1, ids.data(), some.data(), scratch.data()});
      },
      "no token");
  CHECK(list.empty());
}
