// Heads on their way to attention: the same as norms, rotations, stores and forms one after another.
#include "kernels/cuda/heads.h"

#include <cmath>

#include "kernels/cuda/multiply.h"
#include "kernels/format.h"
#include "kernels/reference/rms_norm.h"
#include "tests/cuda/device.h"
#include "tests/kernels/random_blocks.h"

using namespace sluice;
using namespace sluice::kernels;
using namespace sluice::test;

namespace {

constexpr int64_t kRows = 3;

// kRows rows with a gap between them.
struct Rows {
  Rows(int64_t n_columns, uint32_t seed)
      : values(static_cast<size_t>(kRows * (n_columns + 2))), on_device(fill(values, seed)) {
    rows = {on_device.data(), kRows, n_columns, n_columns + 2};
  }
  static const std::vector<float>& fill(std::vector<float>& values, uint32_t seed) {
    return values = random_floats(values.size(), seed);
  }
  std::vector<float> values;
  OnDevice<float> on_device;
  cuda::FloatRows rows;
};

struct Angles {
  explicit Angles(int64_t n_pairs)
      : cosines_on(random_floats(static_cast<size_t>(kRows * n_pairs), 1)),
        sines_on(random_floats(static_cast<size_t>(kRows * n_pairs), 2)),
        cosines{cosines_on.data(), kRows, n_pairs, n_pairs},
        sines{sines_on.data(), kRows, n_pairs, n_pairs} {}
  OnDevice<float> cosines_on, sines_on;
  cuda::FloatRows cosines, sines;
};

// A page of a cache, and where each row goes in it: backwards.
struct Page {
  Page(CacheType type, int64_t n_heads, int64_t size)
      : row_bytes(cache_row_bytes(type, size)),
        memory(std::vector<std::byte>(static_cast<size_t>(n_heads * kRows * row_bytes))) {
    for (int64_t i = 0; i < kRows; ++i) rows.push_back(memory.data() + (kRows - 1 - i) * row_bytes);
  }
  int64_t row_bytes;
  OnDevice<std::byte> memory;
  std::vector<void*> rows;
};

}  // namespace

TEST_CASE("queries, keys and values are turned and stored in one launch, bit for bit as in several") {
  using enum CacheType;
  struct Case {
    int64_t n_heads, n_kv_heads, size, n_pairs;
    reference::RopePairs pairs;
    CacheType type;
  };
  for (const Case& c : {Case{5, 2, 64, 32, reference::RopePairs::Halves, F16},
                        Case{1, 1, 33, 4, reference::RopePairs::Interleaved, F32},
                        Case{4, 2, 96, 20, reference::RopePairs::Halves, Q8_0},
                        Case{3, 3, 300, 150, reference::RopePairs::Interleaved, BF16}}) {
    CAPTURE(c.size);
    const Rows q(c.n_heads * c.size, 1), k(c.n_kv_heads * c.size, 2), v(c.n_kv_heads * c.size, 3);
    const Rows q2(c.n_heads * c.size, 1), k2(c.n_kv_heads * c.size, 2);
    const Angles angles(c.n_pairs);
    const Page keys(c.type, c.n_kv_heads, c.size), values(c.type, c.n_kv_heads, c.size),
        keys2(c.type, c.n_kv_heads, c.size), values2(c.type, c.n_kv_heads, c.size);
    const OnDevice<void*> key_places(keys.rows), value_places(values.rows), key_places2(keys2.rows),
        value_places2(values2.rows);
    const int64_t head_bytes = kRows * keys.row_bytes;
    cuda::HeadsCall call;
    call.n_parts = 3;
    call.parts[0] = {q.rows, c.n_heads, c.size, nullptr, 0, 0};
    call.parts[1] = {k.rows, c.n_kv_heads, c.size, nullptr, 0, 0, key_places.data(), c.type, head_bytes};
    call.parts[2] = {v.rows, c.n_kv_heads, c.size, nullptr, 0, -1, value_places.data(), c.type, head_bytes};
    call.pairs = c.pairs;
    call.cosines = angles.cosines;
    call.sines = angles.sines;
    cuda::Launches list;
    cuda::finish_heads(list, call);
    CHECK(list.size() == 1);
    cuda::rope(list, q2.rows, c.n_heads, c.size, c.pairs, angles.cosines, angles.sines);
    cuda::rope(list, k2.rows, c.n_kv_heads, c.size, c.pairs, angles.cosines, angles.sines);
    for (int64_t i = 0; i < kRows; ++i) {
      cuda::store_cache_rows(list, {k2.rows.data + i * k2.rows.stride, 1, k2.rows.n_columns, k2.rows.stride},
                             c.n_kv_heads, c.type, key_places2.data() + i, keys.row_bytes, head_bytes);
      cuda::store_cache_rows(list, {v.rows.data + i * v.rows.stride, 1, v.rows.n_columns, v.rows.stride}, c.n_kv_heads,
                             c.type, value_places2.data() + i, keys.row_bytes, head_bytes);
    }
    run(list);
    CHECK(same_bits(q.on_device.values(), q2.on_device.values()));
    CHECK(same_bits(keys.memory.values(), keys2.memory.values()));
    CHECK(same_bits(values.memory.values(), values2.memory.values()));
    CHECK(same_bits(v.on_device.values(), v.values));
  }
}

TEST_CASE("heads are normed before they are turned, and forms are those of what came out") {
  for (const int64_t n_low : {32, 300, 1536}) {
    const int64_t n_latent = 100, n_pairs = 16, cached = n_latent + 2 * n_pairs;
    const Rows low(n_low, 1), latent(cached, 2), query(4 * 48, 5);
    const std::vector<float> low_weight = random_floats(static_cast<size_t>(n_low), 3),
                             latent_weight = random_floats(static_cast<size_t>(n_latent), 4),
                             head_weight = random_floats(48, 6);
    const OnDevice<float> low_weight_on(low_weight), latent_weight_on(latent_weight), head_weight_on(head_weight);
    const Angles angles(n_pairs);
    const Page page(CacheType::F32, 1, cached);
    const OnDevice<void*> places(page.rows);
    cuda::Activations forms{low.rows.data, low.rows.stride, kRows, n_low, {}, {}}, expected_forms = forms;
    const OnDevice<std::byte> form_memory(std::vector<std::byte>(cuda::form_bytes(kRows, n_low))),
        expected_memory(std::vector<std::byte>(form_memory.size()));
    cuda::place_forms(forms, form_memory.data());
    cuda::place_forms(expected_forms, expected_memory.data());
    const OnDevice<int32_t> not_finite(std::vector<int32_t>{0});
    cuda::HeadsCall call;
    call.n_parts = 3;
    call.parts[0] = {low.rows, 1, n_low, low_weight_on.data(), n_low};
    call.parts[1] = {latent.rows, 1,        cached,        latent_weight_on.data(),
                     n_latent,    n_latent, places.data(), CacheType::F32};
    call.parts[2] = {query.rows, 4, 48, head_weight_on.data(), 48, 16};
    call.forms = forms;
    call.not_finite = not_finite.data();
    call.epsilon = 1e-5f;
    call.cosines = angles.cosines;
    call.sines = angles.sines;
    cuda::Launches list;
    cuda::finish_heads(list, call);
    cuda::quantize(list, expected_forms, not_finite.data());
    run(list);
    CHECK(same_bits(form_memory.values(), expected_memory.values()));

    const std::vector<float> cosines = angles.cosines_on.values(), sines = angles.sines_on.values();
    const auto check = [&](const Rows& x, int64_t begin, int64_t size, const std::vector<float>& weight,
                           int64_t turned_from, int64_t row, const float* made) {
      std::vector<float> expected(&x.values[static_cast<size_t>(row * x.rows.stride + begin)],
                                  &x.values[static_cast<size_t>(row * x.rows.stride + begin)] + size);
      reference::rms_norm(expected.data(), weight.data(), 1, static_cast<int64_t>(weight.size()), 1e-5f,
                          expected.data());
      for (int64_t p = 0; turned_from >= 0 && p < n_pairs; ++p) {
        float& a = expected[static_cast<size_t>(turned_from + 2 * p)];
        float& b = expected[static_cast<size_t>(turned_from + 2 * p + 1)];
        const float cosine = cosines[static_cast<size_t>(row * n_pairs + p)],
                    sine = sines[static_cast<size_t>(row * n_pairs + p)], was = a;
        a = was * cosine - b * sine;
        b = was * sine + b * cosine;
      }
      for (int64_t i = 0; i < size; ++i)
        CHECK(std::abs(made[i] - expected[static_cast<size_t>(i)]) <=
              1e-6f * (std::abs(expected[static_cast<size_t>(i)]) + 1));
    };
    const std::vector<float> made_low = low.on_device.values(), made_query = query.on_device.values();
    const std::vector<std::byte> stored = page.memory.values();
    for (int64_t row = 0; row < kRows; ++row) {
      check(low, 0, n_low, low_weight, -1, row, &made_low[static_cast<size_t>(row * low.rows.stride)]);
      check(latent, 0, cached, latent_weight, n_latent, row,
            reinterpret_cast<const float*>(&stored[static_cast<size_t>((kRows - 1 - row) * page.row_bytes)]));
      for (int64_t h = 0; h < 4; ++h)
        check(query, h * 48, 48, head_weight, 16, row,
              &made_query[static_cast<size_t>(row * query.rows.stride + h * 48)]);
    }
  }
}

TEST_CASE("heads are turned to another place beside a product across rows, and the product is the same") {
  for (const reference::RopePairs pairs : {reference::RopePairs::Interleaved, reference::RopePairs::Halves}) {
    const int64_t n_heads = 5, nope = 19, n_columns = 288, n_pairs = 6, head = nope + 2 * n_pairs,
                  cached = n_columns + 2 * n_pairs;
    const Format& format = format_of(gguf::TensorType::Q8_0);
    const OnDevice<std::byte> weights(random_blocks(format, static_cast<size_t>(n_heads * nope * n_columns / 32), 3),
                                      2);
    const Rows query(n_heads * head, 1), query2(n_heads * head, 1), made(n_heads * cached, 2),
        expected(n_heads * cached, 2);
    const Angles angles(n_pairs);
    cuda::TransposedProducts products;
    products.matrix.type = format.type;
    products.matrix.data = weights.data();
    products.matrix.n_outputs = nope;
    products.matrix.n_inputs = n_columns;
    products.matrix.row_bytes = static_cast<uint64_t>(n_columns / 32 * 34);
    products.n_matrices = n_heads;
    products.matrix_stride = nope * n_columns / 32 * 34;
    products.n_inputs_each = kRows;
    products.input_matrix_stride = head;
    products.input_stride = query.rows.stride;
    products.output_matrix_stride = cached;
    products.output_stride = made.rows.stride;
    products.input = query.rows.data;
    products.output = made.rows.data;
    products.turned = {query.rows.data + nope,
                       head,
                       query.rows.stride,
                       made.rows.data + n_columns,
                       cached,
                       made.rows.stride,
                       angles.cosines.data,
                       angles.sines.data,
                       n_pairs,
                       static_cast<int32_t>(n_pairs),
                       pairs};
    cuda::Launches list;
    cuda::multiply_transposed(list, products);
    CHECK(list.size() == 1);
    products.input = query2.rows.data;
    products.output = expected.rows.data;
    products.turned = {};
    cuda::multiply_transposed(list, products);
    cuda::FloatRows turned = query2.rows;
    turned.data += nope;
    turned.n_columns -= nope;
    cuda::rope(list, turned, n_heads, head, pairs, angles.cosines, angles.sines);
    for (int64_t h = 0; h < n_heads; ++h)
      cuda::copy_rows(list, {query2.rows.data + h * head + nope, kRows, 2 * n_pairs, query2.rows.stride},
                      {expected.rows.data + h * cached + n_columns, kRows, 2 * n_pairs, expected.rows.stride});
    run(list);
    CHECK(same_bits(made.on_device.values(), expected.on_device.values()));
    CHECK(same_bits(query.on_device.values(), query.values));
  }
}

TEST_CASE("heads that make no sense are refused with a sentence") {
  const Rows rows(64, 1), others(64, 2);
  const Angles angles(16);
  cuda::HeadsCall sound;
  sound.n_parts = 2;
  sound.parts[0] = {rows.rows, 2, 32, nullptr, 0, 0};
  sound.parts[1] = {others.rows, 2, 32};
  sound.cosines = angles.cosines;
  sound.sines = angles.sines;
  cuda::Launches list;
  const auto refused = [&](auto change, const char* words) {
    cuda::HeadsCall broken = sound;
    change(broken);
    check_refused([&] { cuda::finish_heads(list, broken); }, words);
  };
  refused([](auto& c) { c.n_parts = 4; }, "three kinds");
  refused([](auto& c) { c.parts[1].n_heads = 3; }, "fill the rows");
  refused([](auto& c) { c.parts[1].x = c.parts[0].x; }, "twice");
  refused([](auto& c) { c.parts[0].n_normed = 32; }, "norm of a head");
  refused([](auto& c) { c.parts[0].turned_from = 1; }, "angles for each row");
  refused([](auto& c) { c.forms.values = c.parts[0].x.data; }, "alone in its row");
  CHECK(list.empty());
}
