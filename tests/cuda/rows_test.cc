// Small operations on rows.
#include "kernels/cuda/rows.h"

#include <cmath>
#include <limits>

#include "kernels/reference/cache_rows.h"
#include "kernels/reference/rms_norm.h"
#include "kernels/reference/rope.h"
#include "kernels/reference/swiglu.h"
#include "tests/cuda/device.h"

using namespace sluice;
using namespace sluice::kernels;
using namespace sluice::test;

namespace {

constexpr int64_t kRows = 3;

// kRows rows with a gap between them.
struct Rows {
  std::vector<float> values;
  OnDevice<float> on_device;
  cuda::FloatRows rows;

  Rows(int64_t n_columns, uint32_t seed)
      : values(random_floats(static_cast<size_t>((kRows - 1) * (n_columns + 2) + n_columns), seed)), on_device(values) {
    rows = {on_device.data(), kRows, n_columns, n_columns + 2};
  }
  float at(int64_t row, int64_t column) const { return values[static_cast<size_t>(row * rows.stride + column)]; }
};

template <class Expected>
void check_rows(const Rows& rows, float tolerance, Expected expected) {
  const std::vector<float> made = rows.on_device.values();
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t c = 0; c < rows.rows.n_columns; ++c) {
      const float want = expected(r, c);
      CHECK(std::abs(made[static_cast<size_t>(r * rows.rows.stride + c)] - want) <= tolerance * std::abs(want));
    }
}

}  // namespace

TEST_CASE("rows are copied, added and gated") {
  for (const int64_t n : {1, 255, 700}) {
    const Rows x(n, 1), y(n, 2), gate(n, 3), copied(n, 4);
    cuda::Launches list;
    cuda::copy_rows(list, x.rows, copied.rows);
    cuda::add_rows(list, x.rows, y.rows);
    cuda::swiglu(list, gate.rows, y.rows);
    run(list);
    check_rows(copied, 0, [&](int64_t r, int64_t c) { return x.at(r, c); });
    check_rows(x, 0, [&](int64_t r, int64_t c) { return x.at(r, c) + y.at(r, c); });
    check_rows(gate, 5e-7f, [&](int64_t r, int64_t c) { return reference::silu(gate.at(r, c)) * y.at(r, c); });
  }
}

TEST_CASE("rows are normed in groups, in place too") {
  for (const int64_t size : {1, 64, 192, 2000}) {
    const int64_t n_groups = 3;
    const Rows x(size * n_groups, 1);
    const std::vector<float> weight = random_floats(static_cast<size_t>(size), 2);
    const OnDevice<float> weight_on(weight);
    cuda::Launches list;
    cuda::rms_norm(list, x.rows, weight_on.data(), size, 1e-6f, x.rows);
    run(list);
    std::vector<float> expected(static_cast<size_t>(size));
    for (int64_t g = 0; g < n_groups; ++g)
      check_rows(x, 2.5e-7f, [&](int64_t r, int64_t c) {
        if (c / size != g) return x.on_device.values()[static_cast<size_t>(r * x.rows.stride + c)];
        if (c % size == 0)
          reference::rms_norm(&x.values[static_cast<size_t>(r * x.rows.stride + c)], weight.data(), 1, size, 1e-6f,
                              expected.data());
        return expected[static_cast<size_t>(c % size)];
      });
  }
}

TEST_CASE("heads turn by their row's angles, bit for bit") {
  for (const reference::RopePairs pairs : {reference::RopePairs::Interleaved, reference::RopePairs::Halves}) {
    const int64_t n_heads = 5, head_stride = 24, n_dims = 16;
    const Rows x(n_heads * head_stride, 1);
    const int32_t positions[] = {0, 7, 100000};
    reference::Rope rope;
    rope.pairs = pairs;
    rope.n_dims = n_dims;
    std::vector<float> cosines(kRows * n_dims / 2), sines(cosines.size());
    for (int64_t r = 0; r < kRows; ++r)
      reference::rope_angles(rope, positions[r], &cosines[static_cast<size_t>(r * n_dims / 2)],
                             &sines[static_cast<size_t>(r * n_dims / 2)]);
    const OnDevice<float> cosines_on(cosines), sines_on(sines);
    cuda::Launches list;
    // The last 16 columns of each head.
    cuda::FloatRows tail = x.rows;
    tail.data += 8;
    tail.n_columns -= 8;
    cuda::rope(list, tail, n_heads, head_stride, pairs, {cosines_on.data(), kRows, n_dims / 2, n_dims / 2},
               {sines_on.data(), kRows, n_dims / 2, n_dims / 2});
    run(list);
    std::vector<float> expected = x.values;
    reference::apply_rope(rope, positions, kRows, x.rows.stride, n_heads, head_stride, expected.data() + 8);
    CHECK(same_bits(x.on_device.values(), expected));
  }
}

TEST_CASE("rows of caches are stored bit for bit, and read back") {
  for (const CacheType type : {CacheType::F16, CacheType::F32, CacheType::BF16, CacheType::Q8_0})
    for (const int64_t head_size : {1, 32, 100, 576}) {
      const int64_t n_heads = 2, row_bytes = cache_row_bytes(type, head_size), head_bytes = (kRows + 1) * row_bytes;
      Rows x(n_heads * head_size, 9);
      const float hard[] = {0, -0.0f, 65519, 65520, -1e30f, 6.1e-5f, 3e-8f, 1e-40f, NAN, INFINITY};
      for (size_t i = 0; i < std::size(hard) && i * 37 < x.values.size(); ++i) x.values[i * 37] = hard[i];
      if (type == CacheType::Q8_0 && head_size == 32) x.values[5] = 1e-40f;
      REQUIRE(cudaMemcpy(x.on_device.data(), x.values.data(), x.values.size() * 4, cudaMemcpyHostToDevice) ==
              cudaSuccess);
      const size_t bytes = static_cast<size_t>(n_heads * head_bytes);
      const OnDevice<std::byte> cache(std::vector<std::byte>(bytes, std::byte{0x5A}));
      const OnDevice<void*> place(std::vector<void*>{cache.data()});
      cuda::Launches list;
      cuda::store_cache_rows(list, x.rows, n_heads, type, place.data(), row_bytes, head_bytes);
      run(list);
      std::vector<std::byte> expected(bytes, std::byte{0x5A});
      for (int64_t r = 0; r < kRows; ++r)
        for (int64_t h = 0; h < n_heads; ++h)
          reference::store_cache_row(type, &x.values[static_cast<size_t>(r * x.rows.stride + h * head_size)], head_size,
                                     &expected[static_cast<size_t>(h * head_bytes + r * row_bytes)]);
      CHECK(same_bits(cache.values(), expected));

      const OnDevice<float> back(static_cast<size_t>(kRows * head_size));
      list.clear();
      cuda::load_cache_rows(list, type, place.data(), row_bytes, {back.data(), kRows, head_size, head_size});
      run(list);
      std::vector<float> row(static_cast<size_t>(head_size));
      const std::vector<float> made = back.values();
      for (int64_t r = 0; r < kRows; ++r) {
        reference::load_cache_row(type, &expected[static_cast<size_t>(r * row_bytes)], head_size, row.data());
        for (size_t c = 0; c < row.size(); ++c) {
          const float value = made[static_cast<size_t>(r * head_size) + c];
          CHECK((std::isnan(row[c]) ? std::isnan(value) : value == row[c]));
        }
      }
    }
}

TEST_CASE("rows are added with weights, in order") {
  const int64_t n_columns = 300, n_used = 4;
  const Rows y(n_columns, 1), out(n_columns, 2);
  const std::vector<int32_t> places = {2, 0, 1, 1, 0, 0, 0, 2, 1, 2, 0, 1};
  const std::vector<float> weights = random_floats(places.size(), 3);
  const OnDevice<int32_t> places_on(places);
  const OnDevice<float> weights_on(weights);
  cuda::Launches list;
  cuda::weighted_sum(list, y.rows, places_on.data(), weights_on.data(), n_used, out.rows);
  run(list);
  check_rows(out, 0, [&](int64_t r, int64_t c) {
    float sum = 0;
    for (int64_t k = r * n_used; k < (r + 1) * n_used; ++k)
      sum = std::fma(weights[static_cast<size_t>(k)], y.at(places[static_cast<size_t>(k)], c), sum);
    return sum;
  });
}

TEST_CASE("rows that make no sense are refused with a sentence") {
  const Rows x(64, 1), y(32, 2);
  cuda::Launches list;
  check_refused([&] { cuda::add_rows(list, x.rows, y.rows); }, "differ in shape");
  check_refused([&] { cuda::rms_norm(list, x.rows, nullptr, 48, 1e-5f, x.rows); }, "do not divide");
  check_refused([&] { cuda::rope(list, x.rows, 3, 32, reference::RopePairs::Halves, y.rows, y.rows); }, "do not fit");
  check_refused([&] { cuda::store_cache_rows(list, x.rows, 1, CacheType::F16, nullptr, 128, 0); }, "need a place");
  CHECK(list.empty());
}
