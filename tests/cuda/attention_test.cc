// Attention over pages, against the reference over the values that the cache holds.
#include "kernels/cuda/attention.h"

#include <cmath>
#include <memory>

#include "kernels/cuda/attention_join.h"
#include "kernels/reference/attention.h"
#include "kernels/reference/cache_rows.h"
#include "tests/cuda/device.h"

using namespace sluice;
using namespace sluice::kernels;
using namespace sluice::test;

namespace {

struct Shape {
  const char* name;
  int64_t n_heads, n_kv_heads, key_size, value_size;
  CacheType type;
  bool is_latent = false;  // keys are values too
};

// Rows that see n_visible positions each, in pages of page_positions.
void check_attention(const Shape& shape, int64_t page_positions, const std::vector<int64_t>& n_visible) {
  CAPTURE(shape.name);
  const int64_t n_rows = static_cast<int64_t>(n_visible.size());
  int64_t most = 0;
  for (const int64_t n : n_visible) most = std::max(most, n);
  const int64_t n_pages = (most + page_positions - 1) / page_positions, n_positions = n_pages * page_positions;
  cuda::AttentionCall call;
  call.n_heads = shape.n_heads;
  call.n_kv_heads = shape.n_kv_heads;
  call.key_size = shape.key_size;
  call.value_size = shape.value_size;
  call.scale = 0.3f;
  call.type = shape.type;
  call.page_positions = page_positions;
  call.key_row_bytes = cache_row_bytes(shape.type, shape.key_size);
  call.value_row_bytes = shape.is_latent ? call.key_row_bytes : cache_row_bytes(shape.type, shape.value_size);
  call.key_head_bytes = page_positions * call.key_row_bytes;
  call.value_head_bytes = page_positions * call.value_row_bytes;

  // Pages, and what they hold as floats [n_positions, n_kv_heads, size].
  auto make_pages = [&](int64_t size, int64_t row_bytes, uint32_t seed, std::vector<float>& floats) {
    floats.resize(static_cast<size_t>(n_positions * shape.n_kv_heads * size));
    std::vector<std::unique_ptr<OnDevice<std::byte>>> pages;
    for (int64_t p = 0; p < n_pages; ++p) {
      std::vector<std::byte> page(static_cast<size_t>(shape.n_kv_heads * page_positions * row_bytes));
      for (int64_t h = 0; h < shape.n_kv_heads; ++h)
        for (int64_t i = 0; i < page_positions; ++i) {
          const std::vector<float> row = random_floats(static_cast<size_t>(size), seed++);
          std::byte* const to = &page[static_cast<size_t>((h * page_positions + i) * row_bytes)];
          reference::store_cache_row(shape.type, row.data(), size, to);
          reference::load_cache_row(
              shape.type, to, size,
              &floats[static_cast<size_t>(((p * page_positions + i) * shape.n_kv_heads + h) * size)]);
        }
      pages.push_back(std::make_unique<OnDevice<std::byte>>(page));
    }
    return pages;
  };
  std::vector<float> keys, values;
  const auto key_pages = make_pages(shape.key_size, call.key_row_bytes, 1000, keys);
  auto value_pages = make_pages(shape.is_latent ? 1 : shape.value_size, call.value_row_bytes, 900000, values);
  if (shape.is_latent) {
    values.clear();
    for (int64_t i = 0; i < n_positions; ++i)
      values.insert(values.end(), keys.begin() + i * shape.key_size,
                    keys.begin() + i * shape.key_size + shape.value_size);
  }
  std::vector<const void*> key_addresses, value_addresses;
  for (size_t p = 0; p < key_pages.size(); ++p) {
    key_addresses.push_back(key_pages[p]->data());
    value_addresses.push_back(shape.is_latent ? key_pages[p]->data() : value_pages[p]->data());
  }
  const OnDevice<const void*> key_table(key_addresses), value_table(value_addresses);
  std::vector<cuda::AttentionRow> rows;
  for (const int64_t n : n_visible) rows.push_back({key_table.data(), value_table.data(), n});
  const OnDevice<cuda::AttentionRow> rows_on(rows);
  const std::vector<float> q = random_floats(static_cast<size_t>(n_rows * shape.n_heads * shape.key_size), 5, 0.5f);
  const OnDevice<float> q_on(q), out(static_cast<size_t>(n_rows * shape.n_heads * shape.value_size));
  call.rows = rows_on.data();
  call.n_rows = n_rows;
  call.most_pieces = n_pages + 1;  // more than there are
  call.q = q_on.data();
  call.q_stride = shape.n_heads * shape.key_size;
  call.out = out.data();
  call.out_stride = shape.n_heads * shape.value_size;
  const OnDevice<float> scratch(
      static_cast<size_t>(cuda::attention_scratch_floats(n_rows, shape.n_heads, shape.value_size, call.most_pieces)));
  call.scratch = scratch.data();
  cuda::Launches list;
  cuda::attend(list, call);
  run(list);

  std::vector<float> expected(out.size());
  reference::attention({shape.n_heads, shape.n_kv_heads, shape.key_size, shape.value_size, call.scale}, q.data(),
                       keys.data(), values.data(), n_visible.data(), n_rows, expected.data());
  float largest = 0;
  for (const float x : expected) largest = std::max(largest, std::abs(x));
  const std::vector<float> made = out.values();
  for (size_t i = 0; i < made.size(); ++i) CHECK(std::abs(made[i] - expected[i]) <= 3e-6f * largest);

  // With forms, of rows and of heads.
  for (const int64_t n_parts : {int64_t{1}, shape.n_heads}) {
    const int64_t n_columns = shape.n_heads * shape.value_size / n_parts;
    cuda::Activations forms{out.data(), n_columns, n_rows * n_parts, n_columns, {}, {}}, expected_forms = forms;
    const OnDevice<std::byte> memory(std::vector<std::byte>(cuda::form_bytes(forms.n_rows, n_columns))),
        expected_memory(std::vector<std::byte>(memory.size()));
    const OnDevice<int32_t> not_finite(std::vector<int32_t>{0});
    cuda::place_forms(forms, memory.data());
    cuda::place_forms(expected_forms, expected_memory.data());
    call.forms = forms;
    call.not_finite = not_finite.data();
    list.clear();
    cuda::attend(list, call);
    CHECK(list.size() == 2);
    cuda::quantize(list, expected_forms, not_finite.data());
    run(list);
    CHECK(same_bits(out.values(), made));
    CHECK(same_bits(memory.values(), expected_memory.values()));
  }
}

}  // namespace

TEST_CASE("attention over pages is that of the reference") {
  check_attention({"one head", 1, 1, 8, 8, CacheType::F32}, 128, {0, 1, 127, 128, 129, 300});
  check_attention({"grouped heads", 8, 2, 64, 64, CacheType::F16}, 128, {129, 1});
  check_attention({"odd sizes", 3, 3, 33, 17, CacheType::BF16}, 16, {1, 16, 17, 40});
  check_attention({"8 bits", 4, 1, 96, 64, CacheType::Q8_0}, 32, {31, 65});
  check_attention({"8 bits, odd", 2, 1, 40, 50, CacheType::Q8_0}, 5, {4, 12});
  check_attention({"many heads of a group", 40, 2, 32, 32, CacheType::F16}, 7, {20});
}

TEST_CASE("in absorbed latent attention all heads share one row that is key and value") {
  check_attention({"latent f16", 20, 1, 576, 512, CacheType::F16, true}, 128, {130});
  check_attention({"latent 8 bits", 17, 1, 576, 512, CacheType::Q8_0, true}, 64, {3, 66});
}

TEST_CASE("attention that makes no sense is refused with a sentence") {
  cuda::AttentionCall call;
  cuda::Launches list;
  check_refused([&] { cuda::attend(list, call); }, "do not divide");
  call.n_heads = call.n_kv_heads = 1;
  check_refused([&] { cuda::attend(list, call); }, "at most 576");
  call.key_size = call.value_size = 64;
  check_refused([&] { cuda::attend(list, call); }, "1 to 128 positions");
  call.page_positions = 128;
  check_refused([&] { cuda::attend(list, call); }, "overlap");
  call.key_row_bytes = call.value_row_bytes = 129;
  check_refused([&] { cuda::attend(list, call); }, "multiple of their elements");
  call.key_row_bytes = call.value_row_bytes = 128;
  check_refused([&] { cuda::attend(list, call); }, "device memory");
  call.rows = reinterpret_cast<const cuda::AttentionRow*>(&call);
  call.q = call.out = &call.scale;
  call.forms.values = &call.scale;
  call.forms.n_columns = 63;
  check_refused([&] { cuda::attend(list, call); }, "of its rows");
  CHECK(list.empty());
}
