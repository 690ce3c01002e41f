// Attention on the CPU against the reference, over cache types, shapes of heads, lengths of context and threads.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/cpu/attention.h"
#include "kernels/reference/attention.h"
#include "kernels/reference/cache_rows.h"

using namespace sluice;
using kernels::CacheType;
using kernels::ThreadPool;

namespace {

constexpr CacheType kTypes[] = {CacheType::F32, CacheType::F16, CacheType::BF16, CacheType::Q8_0};

struct Shape {
  int64_t n_heads, n_kv_heads, key_size, value_size;
};

std::vector<float> random_values(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(n);
  for (float& v : values) v = static_cast<float>(random() % 20001) / 10000.0f - 1.0f;
  return values;
}

// A cache in pages, and the values that are left after its rounding.
class Cache {
 public:
  static constexpr int64_t kPage = 128;

  Cache(CacheType type, int64_t n_positions, int64_t n_heads, int64_t n_columns, uint32_t seed)
      : row_bytes_(kernels::cache_row_bytes(type, n_columns)),
        values_(random_values(static_cast<size_t>(n_positions * n_heads * n_columns), seed)) {
    for (int64_t at = 0; at < n_positions; at += kPage)
      pages_.emplace_back(static_cast<size_t>(n_heads * head_bytes()), char{0x7F});  // what nobody wrote is no number
    for (int64_t i = 0; i < n_positions * n_heads; ++i) {
      const int64_t position = i / n_heads, head = i % n_heads;
      char* page = pages_[static_cast<size_t>(position / kPage)].data();
      char* row = page + head * head_bytes() + position % kPage * row_bytes_;
      float* values = values_.data() + i * n_columns;
      kernels::reference::store_cache_row(type, values, n_columns, row);
      kernels::reference::load_cache_row(type, row, n_columns, values);
    }
    for (const auto& page : pages_) pointers_.push_back(page.data());
  }

  int64_t row_bytes() const { return row_bytes_; }
  int64_t head_bytes() const { return row_bytes_ * kPage; }
  const float* values() const { return values_.data(); }  // [n_positions, n_heads, n_columns]
  const void* const* pages() const { return pointers_.data(); }

 private:
  int64_t row_bytes_;
  std::vector<float> values_;
  std::vector<std::vector<char>> pages_;
  std::vector<const void*> pointers_;
};

std::vector<float> attend(ThreadPool& pool, const Shape& shape, const kernels::KeysAndValues& context,
                          const std::vector<float>& q, const std::vector<int64_t>& n_visible) {
  std::vector<float> out(n_visible.size() * static_cast<size_t>(shape.n_heads * shape.value_size), 1e30f);
  std::vector<kernels::AttentionRow> rows;
  for (size_t i = 0; i < n_visible.size(); ++i) {
    const auto row = static_cast<int64_t>(i);
    rows.push_back({q.data() + row * shape.n_heads * shape.key_size, &context, n_visible[i],
                    out.data() + row * shape.n_heads * shape.value_size});
  }
  kernels::attend(pool, {shape.n_heads, shape.n_kv_heads, shape.key_size, shape.value_size, 0.3f}, rows.data(),
                  static_cast<int64_t>(rows.size()));
  return out;
}

double largest_relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, largest = 1e-30;
  for (size_t i = 0; i < b.size(); ++i) {
    const double d = std::abs(double{a[i]} - double{b[i]});
    if (!(d <= difference)) difference = d;  // a NaN must not pass
    largest = std::max(largest, std::abs(double{b[i]}));
  }
  return difference / largest;
}

}  // namespace

TEST_CASE("attention over pages agrees with the reference for every cache type, shape and length") {
  ThreadPool pool(2);
  for (const Shape shape : {Shape{4, 2, 16, 16}, Shape{3, 3, 20, 12}, Shape{6, 1, 40, 32}, Shape{9, 3, 64, 64},
                            Shape{16, 1, 128, 128}, Shape{7, 1, 32, 48}, Shape{40, 1, 72, 64}, Shape{2, 2, 192, 128}})
    for (const CacheType type : kTypes)
      for (const int64_t n_positions : {1, 63, 64, 65, 129, 511, 513, 1000}) {
        const Cache keys(type, n_positions, shape.n_kv_heads, shape.key_size, 6);
        const Cache values(type, n_positions, shape.n_kv_heads, shape.value_size, 7);
        const kernels::KeysAndValues context{
            keys.pages(),     values.pages(),     Cache::kPage,      type,
            keys.row_bytes(), values.row_bytes(), keys.head_bytes(), values.head_bytes()};
        // Ascending as in a prefill, and not.
        std::vector<int64_t> n_visible = {(n_positions + 1) / 2, n_positions, 1};
        for (int64_t back = std::min<int64_t>(n_positions, 11); back-- > 0;) n_visible.push_back(n_positions - back);
        const auto q = random_values(n_visible.size() * static_cast<size_t>(shape.n_heads * shape.key_size), 8);
        const auto out = attend(pool, shape, context, q, n_visible);
        std::vector<float> expected(out.size());
        kernels::reference::attention({shape.n_heads, shape.n_kv_heads, shape.key_size, shape.value_size, 0.3f},
                                      q.data(), keys.values(), values.values(), n_visible.data(),
                                      static_cast<int64_t>(n_visible.size()), expected.data());
        CAPTURE(static_cast<int>(type));
        CAPTURE(shape.key_size);
        CAPTURE(n_positions);
        CHECK(largest_relative_difference(out, expected) < 1e-5);
      }
}

TEST_CASE("attention to latent rows, which are key and value both, agrees with the reference") {
  ThreadPool pool(2);
  for (const Shape shape : {Shape{16, 1, 576, 512}, Shape{5, 1, 56, 40}, Shape{4, 1, 112, 96}})
    for (const CacheType type : kTypes)
      for (const int64_t n_positions : {1, 200, 650}) {
        const Cache latents(type, n_positions, 1, shape.key_size, 9);
        const kernels::KeysAndValues context{
            latents.pages(), latents.pages(), Cache::kPage, type, latents.row_bytes(), latents.row_bytes(), 0, 0};
        const std::vector<int64_t> n_visible = {n_positions, (n_positions + 1) / 2};
        const auto q = random_values(2 * static_cast<size_t>(shape.n_heads * shape.key_size), 10);
        const auto out = attend(pool, shape, context, q, n_visible);
        std::vector<float> values, expected(out.size());
        for (int64_t i = 0; i < n_positions; ++i)
          values.insert(values.end(), latents.values() + i * shape.key_size,
                        latents.values() + i * shape.key_size + shape.value_size);
        kernels::reference::attention({shape.n_heads, 1, shape.key_size, shape.value_size, 0.3f}, q.data(),
                                      latents.values(), values.data(), n_visible.data(), 2, expected.data());
        CAPTURE(static_cast<int>(type));
        CAPTURE(shape.key_size);
        CAPTURE(n_positions);
        CHECK(largest_relative_difference(out, expected) < 1e-5);
      }
}

TEST_CASE("neither the number of threads nor the rows of the pass change a bit of attention") {
  for (const Shape shape : {Shape{12, 1, 48, 32}, Shape{9, 3, 64, 64}, Shape{40, 1, 64, 64}}) {
    const int64_t n_positions = 1700;  // several stretches
    const Cache keys(CacheType::F16, n_positions, shape.n_kv_heads, shape.key_size, 11);
    const Cache values(CacheType::F16, n_positions, shape.n_kv_heads, shape.value_size, 12);
    const kernels::KeysAndValues context{keys.pages(),     values.pages(),     Cache::kPage,      CacheType::F16,
                                         keys.row_bytes(), values.row_bytes(), keys.head_bytes(), values.head_bytes()};
    const std::vector<int64_t> n_visible = {1690, 1691, 700, 64, 1700, 512, 513, 1536, 3};
    const auto q = random_values(n_visible.size() * static_cast<size_t>(shape.n_heads * shape.key_size), 13);
    ThreadPool one(1);
    const auto together = attend(one, shape, context, q, n_visible);
    for (const uint32_t n_threads : {1u, 2u, 3u, 7u}) {
      ThreadPool pool(n_threads);
      CHECK(attend(pool, shape, context, q, n_visible) == together);
      std::vector<float> alone;  // decode: few tasks, so the context is split
      for (size_t i = 0; i < n_visible.size(); ++i) {
        const auto columns = shape.n_heads * shape.key_size;
        const auto begin = q.begin() + static_cast<std::ptrdiff_t>(i) * columns;
        const auto row = attend(pool, shape, context, {begin, begin + columns}, {n_visible[i]});
        alone.insert(alone.end(), row.begin(), row.end());
      }
      CHECK(alone == together);
    }
  }
}

TEST_CASE("scores far beyond the range of exp still choose the largest, wherever it stands") {
  ThreadPool pool(2);
  const Shape shape{1, 1, 32, 32};
  for (const int64_t place : {0, 70, 600, 1099}) {
    constexpr int64_t kPositions = 1100;
    std::vector<float> rows(kPositions * 32, 0.0f);
    for (int64_t i = 0; i < kPositions; ++i) rows[static_cast<size_t>(i * 32)] = i == place ? 3.0f : -1.0f;
    for (int64_t i = 0; i < kPositions; ++i) rows[static_cast<size_t>(i * 32 + 1)] = static_cast<float>(i);
    const void* const page = rows.data();
    const kernels::KeysAndValues context{&page, &page, kPositions, CacheType::F32, 128, 128, 0, 0};
    std::vector<float> q(32, 0.0f);
    q[0] = 1e4f;
    const auto out = attend(pool, shape, context, q, {kPositions});
    CHECK(out[0] == 3.0f);
    CHECK(out[1] == static_cast<float>(place));
  }
}

TEST_CASE("a value that is not finite is not hidden by attention") {
  ThreadPool pool(1);
  for (const CacheType type : kTypes) {
    std::vector<float> row(32, 1.0f);
    std::vector<char> page(static_cast<size_t>(3 * kernels::cache_row_bytes(type, 32)));
    for (int64_t i = 0; i < 3; ++i) {
      row[5] = i == 1 ? std::numeric_limits<float>::infinity() : 1.0f;
      kernels::reference::store_cache_row(type, row.data(), 32, page.data() + i * kernels::cache_row_bytes(type, 32));
    }
    const void* const pages = page.data();
    const int64_t row_bytes = kernels::cache_row_bytes(type, 32);
    const kernels::KeysAndValues context{&pages, &pages, 128, type, row_bytes, row_bytes, 0, 0};
    const auto out = attend(pool, {1, 1, 32, 32}, context, std::vector<float>(32, 0.1f), {3});
    CHECK_FALSE(std::isfinite(out[5]));
  }
}
