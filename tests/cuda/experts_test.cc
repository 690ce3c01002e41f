// The chosen experts of a layer, and how they are chosen.
#include "kernels/cuda/experts.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "kernels/cuda/gemm_products.h"
#include "kernels/format.h"
#include "kernels/reference/router.h"
#include "kernels/reference/swiglu.h"
#include "tests/cuda/device.h"
#include "tests/cuda/inputs.h"
#include "tests/kernels/random_blocks.h"

using namespace sluice;
using namespace sluice::kernels;
using namespace sluice::test;
using gguf::TensorType;

namespace {

cuda::Matrix matrix_of(TensorType type, int64_t n_outputs, int64_t n_inputs) {
  const gguf::TypeLayout& layout = gguf::type_layout(type);
  cuda::Matrix matrix;
  matrix.type = type;
  matrix.n_outputs = n_outputs;
  matrix.n_inputs = n_inputs;
  matrix.row_bytes = static_cast<uint64_t>(n_inputs / layout.block_values * layout.block_bytes);
  return matrix;
}

struct Types {
  TensorType gate, up, down;
};

struct Widths {
  int64_t n_columns = 256, n_hidden = 512;
};

// Experts of the types, of which those in `absent` are not here; rows of ids that each row uses. `sorts`: they are sorted, for which
// there is scratch, and multiplied by tiles.
void check_experts(const Types& types, const std::vector<int32_t>& absent, const std::vector<std::vector<int32_t>>& ids,
                   bool sorts = false, const Widths& widths = {}) {
  const int64_t n_experts = 6, n_columns = widths.n_columns, n_hidden = widths.n_hidden,
                n_rows = static_cast<int64_t>(ids.size()), n_used = static_cast<int64_t>(ids[0].size());
  cuda::ExpertsCall call;
  call.gate = matrix_of(types.gate, n_hidden, n_columns);
  call.up = matrix_of(types.up, n_hidden, n_columns);
  call.down = matrix_of(types.down, n_columns, n_hidden);
  struct Part {
    std::vector<std::byte> blocks;
    std::unique_ptr<OnDevice<std::byte>> on_device;
  };
  std::vector<Part> parts;  // gate, up, down of each expert
  std::vector<cuda::ExpertPlace> places;
  for (int64_t e = 0; e < n_experts; ++e) {
    for (const cuda::Matrix* matrix : {&call.gate, &call.up, &call.down}) {
      const Format& format = format_of(matrix->type);
      const size_t n_blocks = static_cast<size_t>(matrix->n_outputs * matrix->n_inputs / format.layout->block_values);
      std::vector<std::byte> blocks = random_blocks(format, n_blocks, static_cast<uint32_t>(parts.size()));
      auto on_device = std::make_unique<OnDevice<std::byte>>(
          blocks, static_cast<size_t>(e % 3 * (matrix->type == TensorType::F32 ? 4 : 2)));
      parts.push_back({std::move(blocks), std::move(on_device)});
    }
    const size_t own = static_cast<size_t>(e) * 3;
    places.push_back(
        {parts[own].on_device->data(), parts[own + 1].on_device->data(), parts[own + 2].on_device->data()});
  }
  for (const int32_t e : absent) places[static_cast<size_t>(e)] = {};
  const OnDevice<cuda::ExpertPlace> places_on(places);
  std::vector<int32_t> flat;
  for (const auto& row : ids) flat.insert(flat.end(), row.begin(), row.end());
  const OnDevice<int32_t> ids_on(flat), not_finite(std::vector<int32_t>{0});
  const std::vector<float> weights = random_floats(flat.size(), 77);
  const OnDevice<float> weights_on(weights);
  // Inputs so small that random experts give gates of ordinary size.
  const Inputs inputs(random_floats(static_cast<size_t>(n_rows * n_columns), 78, 1e-3f), n_columns);
  const int64_t n_slots = n_rows * n_used;
  const OnDevice<float> hidden(static_cast<size_t>(n_slots * n_hidden)),
      output(static_cast<size_t>(n_rows * n_columns));
  const OnDevice<std::byte> forms(cuda::form_bytes(n_slots, n_hidden));
  call.places = places_on.data();
  call.ids = ids_on.data();
  call.weights = weights_on.data();
  call.n_used = n_used;
  call.input = inputs.activations();
  call.hidden.values = hidden.data();
  call.hidden.stride = n_hidden;
  call.hidden.n_rows = n_slots;
  call.hidden.n_columns = n_hidden;
  cuda::place_forms(call.hidden, forms.data());
  call.output = output.data();
  call.output_stride = n_columns;
  call.not_finite = not_finite.data();
  const OnDevice<std::byte> sorting(cuda::sorting_bytes(n_experts, n_rows, n_used));
  call.n_experts = n_experts;
  call.sorting = sorting.data();
  cuda::Launches list;
  cuda::multiply_experts(list, call);
  REQUIRE((std::string(list[0].name) == "sort by expert") == sorts);
  // Values of the hidden rows are lost in what follows their rounding where pairs are sorted.
  const auto rounding =
      std::find_if(list.begin(), list.end(), [](const cuda::Launch& l) { return l.name == std::string("quantize"); });
  const auto second_half = rounding != list.end() ? rounding + 1
                           : !sorts               ? list.end() - 1
                                                  : list.begin() + (types.gate == types.up ? 2 : 3);
  run(cuda::Launches(list.begin(), second_half));
  const std::vector<float> made_hidden = hidden.values();
  run(cuda::Launches(second_half, list.end()));
  const std::vector<float> made = output.values();
  using Rows = std::vector<std::vector<float>>;
  std::vector<Rows> gates, ups, downs;  // of each expert
  for (size_t e = 0; e < places.size(); ++e) {
    gates.push_back(dequantised_rows(types.gate, parts[e * 3].blocks.data(), n_hidden, n_columns));
    ups.push_back(dequantised_rows(types.up, parts[e * 3 + 1].blocks.data(), n_hidden, n_columns));
    downs.push_back(dequantised_rows(types.down, parts[e * 3 + 2].blocks.data(), n_columns, n_hidden));
  }
  for (int64_t i = 0; i < n_rows; ++i) {
    std::vector<double> sum(static_cast<size_t>(n_columns)), magnitude(sum.size());
    for (int64_t k = 0; k < n_used; ++k) {
      const size_t slot = static_cast<size_t>(i * n_used + k), expert = static_cast<size_t>(flat[slot]);
      const float* own_hidden = &made_hidden[slot * static_cast<size_t>(n_hidden)];
      const bool is_here = places[expert].gate != nullptr;
      const std::vector<Product> own_gates = reference_products(types.gate, gates[expert], inputs.row(i)),
                                 own_ups = reference_products(types.up, ups[expert], inputs.row(i));
      for (size_t r = 0; r < own_gates.size(); ++r) {
        if (!is_here) {
          CHECK(own_hidden[r] == 0);
          continue;
        }
        const Product &g = own_gates[r], &u = own_ups[r];
        const double gated = reference::silu(static_cast<float>(g.value));
        // silu's slope is at most 1.1.
        const double allowed = 1.2e-6 * g.magnitude * std::abs(u.value) + 1e-6 * u.magnitude * std::abs(gated) +
                               1e-6 * std::abs(gated * u.value) + 1e-12;
        CHECK(std::abs(own_hidden[r] - gated * u.value) <= allowed);
      }
      // The second half from the values that the first half made.
      if (!is_here) continue;
      const std::vector<Product> products = reference_products(types.down, downs[expert], own_hidden);
      for (size_t c = 0; c < products.size(); ++c) {
        const Product& product = products[c];
        sum[c] += weights[slot] * product.value;
        magnitude[c] += std::abs(weights[slot]) * product.magnitude;
      }
    }
    for (size_t c = 0; c < sum.size(); ++c)
      CHECK(std::abs(made[static_cast<size_t>(i * n_columns) + c] - sum[c]) <= 2e-6 * magnitude[c]);
  }
  CHECK(not_finite.values()[0] == 0);
}

}  // namespace

TEST_CASE("chosen experts are gated, multiplied and added in the router's order, absent ones adding nothing") {
  check_experts({TensorType::IQ1_S, TensorType::IQ1_S, TensorType::IQ2_XXS}, {}, {{3, 0, 5}});
  check_experts({TensorType::Q4_K, TensorType::Q4_K, TensorType::Q6_K}, {1, 4}, {{4, 2, 2, 1}, {5, 1, 4, 0}});
  check_experts({TensorType::Q8_0, TensorType::Q8_0, TensorType::Q8_0}, {2}, {{2, 2}});
  check_experts({TensorType::F16, TensorType::F16, TensorType::F16}, {0}, {{0}, {1}, {0}});
}

// Rows that use experts in turn, and some of them more than others.
std::vector<std::vector<int32_t>> many_rows(int32_t n_rows, int32_t n_used) {
  std::vector<std::vector<int32_t>> ids;
  for (int32_t i = 0; i < n_rows; ++i) {
    ids.emplace_back();
    for (int32_t k = 0; k < n_used; ++k) ids.back().push_back(i % 3 != 1 ? k : (i * i + 2 * k) % 6);
  }
  return ids;
}

TEST_CASE("chosen experts of many rows are sorted and multiplied by tiles, absent ones adding nothing") {
  // An expert with more pairs than a tile has room for, and of down's columns more than fit beside each other.
  check_experts({TensorType::Q4_K, TensorType::Q4_K, TensorType::Q6_K}, {4}, many_rows(45, 2), true, {512, 256});
  check_experts({TensorType::IQ1_S, TensorType::IQ1_S, TensorType::IQ2_XXS}, {0, 1}, many_rows(13, 3), true);
  // Of different formats, down's columns in parts that are no tiles.
  check_experts({TensorType::Q5_1, TensorType::Q8_0, TensorType::Q4_0}, {}, many_rows(12, 2), true, {160, 96});
}

TEST_CASE("chosen experts of floats are sorted and multiplied by tiles, alone and beside quantised ones") {
  const bool has_bf16 = cuda::is_multiplied_by_tiles(TensorType::BF16, cuda::kGemmInputs);
  // Of down's columns more than fit beside each other; an expert with more pairs than a tile has room for.
  check_experts({TensorType::F16, TensorType::F16, TensorType::F16}, {4}, many_rows(45, 2), true, {192, 96});
  check_experts({TensorType::BF16, TensorType::BF16, TensorType::BF16}, {0}, many_rows(14, 3), has_bf16, {100, 256});
  check_experts({TensorType::F32, TensorType::F32, TensorType::F32}, {}, many_rows(12, 2), has_bf16, {64, 64});
  check_experts({TensorType::Q8_0, TensorType::F16, TensorType::Q4_0}, {1}, many_rows(13, 2), true, {96, 64});
  check_experts({TensorType::F16, TensorType::F16, TensorType::Q6_K}, {}, many_rows(12, 2), true, {64, 256});
  check_experts({TensorType::Q4_K, TensorType::Q4_K, TensorType::F16}, {2}, many_rows(12, 2), true, {256, 64});
}

TEST_CASE("rows that are few are not sorted, and neither are those of floats without room for products") {
  CHECK(cuda::sorting_bytes(256, 16, 8) == 0);
  CHECK(cuda::sorting_bytes(256, 512, 8) >= 512 * 8 * 4);
  CHECK(cuda::sorting_bytes(1025, 5000, 8) == 0);
  check_experts({TensorType::F16, TensorType::F16, TensorType::F16}, {0}, many_rows(24, 1), false, {32, 40});
}

TEST_CASE("gate and up may be of different formats") {
  check_experts({TensorType::Q4_K, TensorType::Q8_0, TensorType::Q5_K}, {3}, {{3, 1}, {0, 5}});
}

TEST_CASE(
    "routers choose the same experts as the reference, in the same order, with the same weights but for rounding") {
  struct Case {
    const char* name;
    reference::RouterRule rule;
    bool has_bias;
  };
  using enum reference::Gating;
  using enum reference::GroupScore;
  const Case cases[] = {
      {"softmax", {.n_experts = 64, .n_chosen = 6}, false},
      {"one of one", {.n_experts = 1, .n_chosen = 1}, false},
      {"normalised", {.n_experts = 128, .n_chosen = 8, .normalize = true}, false},
      {"three of 33", {.n_experts = 33, .n_chosen = 33, .normalize = true, .scale = 1.5f}, true},
      {"sigmoid, groups, bias",
       {.n_experts = 256,
        .n_chosen = 8,
        .gating = Sigmoid,
        .normalize = true,
        .scale = 2.5f,
        .n_groups = 8,
        .n_chosen_groups = 4},
       true},
      {"groups by their largest",
       {.n_experts = 160, .n_chosen = 6, .scale = 16, .n_groups = 8, .n_chosen_groups = 3, .group_score = Max},
       false},
      {"groups of one",
       {.n_experts = 40, .n_chosen = 4, .gating = Sigmoid, .n_groups = 40, .n_chosen_groups = 7},
       true},
      {"1024", {.n_experts = 1024, .n_chosen = 10, .gating = Sigmoid}, true},
  };
  for (const Case& c : cases)
    for (const int kind : {0, 1, 2, 3}) {
      CAPTURE(c.name);
      CAPTURE(kind);
      const int64_t n_rows = 3, n = c.rule.n_experts, stride = n + 1;
      std::vector<float> logits = random_floats(static_cast<size_t>(n_rows * stride), 21);
      for (size_t i = 0; i < logits.size(); ++i) {
        if (kind == 1) logits[i] = std::round(logits[i]);  // many ties
        if (kind == 2 && i % 5 == 1) logits[i] = NAN;
        if (kind == 3) logits[i] = i % 3 == 0 ? -INFINITY : 1;
      }
      const std::vector<float> bias = kind == 1 ? std::vector<float>(static_cast<size_t>(n), 0.25f)
                                                : random_floats(static_cast<size_t>(n), 22, 0.1f);
      const size_t n_out = static_cast<size_t>(n_rows * c.rule.n_chosen);
      const OnDevice<float> logits_on(logits), bias_on(bias), weights_on(n_out);
      const OnDevice<int32_t> ids_on(n_out);
      cuda::Launches list;
      cuda::route(list, {c.rule, logits_on.data(), stride, n_rows, c.has_bias ? bias_on.data() : nullptr, ids_on.data(),
                         weights_on.data()});
      run(list);
      const std::vector<int32_t> ids = ids_on.values();
      const std::vector<float> weights = weights_on.values();
      std::vector<int32_t> expected_ids(static_cast<size_t>(c.rule.n_chosen));
      std::vector<float> expected(expected_ids.size());
      for (int64_t i = 0; i < n_rows; ++i) {
        reference::route(c.rule, &logits[static_cast<size_t>(i * stride)], c.has_bias ? bias.data() : nullptr,
                         expected_ids.data(), expected.data());
        for (size_t k = 0; k < expected.size(); ++k) {
          const size_t at = static_cast<size_t>(i) * expected.size() + k;
          CHECK(ids[at] == expected_ids[k]);
          const bool both_nan = std::isnan(weights[at]) && std::isnan(expected[k]);
          const bool is_close = both_nan || std::abs(weights[at] - expected[k]) <= 4e-7f * std::abs(expected[k]);
          CHECK_MESSAGE(is_close, weights[at] << " against " << expected[k]);
        }
      }
    }
}

TEST_CASE("experts and routers that make no sense are refused with a sentence") {
  const OnDevice<float> some(64);
  const OnDevice<int32_t> ids(64);
  cuda::Launches list;
  cuda::RouterCall call{{.n_experts = 8, .n_chosen = 9}, some.data(), 8, 1, nullptr, ids.data(), some.data()};
  check_refused([&] { cuda::route(list, call); }, "more experts");
  call.rule = {.n_experts = 2000, .n_chosen = 2};
  check_refused([&] { cuda::route(list, call); }, "at most 1024");
  cuda::ExpertsCall experts;
  experts.gate = matrix_of(TensorType::Q8_0, 32, 64);
  experts.up = matrix_of(TensorType::Q8_0, 64, 64);
  experts.down = matrix_of(TensorType::Q8_0, 64, 32);
  experts.n_used = 1;
  experts.input.n_rows = 1;
  check_refused([&] { cuda::multiply_experts(list, experts); }, "differ in shape");
  experts.up = experts.gate;
  experts.n_used = 65;
  check_refused([&] { cuda::multiply_experts(list, experts); }, "more than 64");
  CHECK(list.empty());
}
