// Launches that do what several others do: they give the same bits.
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>

#include "kernels/cuda/gemv_arguments.h"
#include "kernels/cuda/routed_product.h"
#include "kernels/format.h"
#include "tests/cuda/device.h"
#include "tests/cuda/inputs.h"
#include "tests/kernels/random_blocks.h"

using namespace sluice;
using namespace sluice::kernels;
using namespace sluice::test;
using gguf::TensorType;

namespace {

// n_matrices side by side, on the device.
class Weights {
 public:
  Weights(TensorType type, int64_t n_outputs, int64_t n_inputs, uint32_t seed, int64_t n_matrices = 1)
      : on_device_(random_blocks(format_of(type), count(type, n_outputs * n_inputs * n_matrices), seed), 2) {
    const gguf::TypeLayout& layout = gguf::type_layout(type);
    matrix.type = type;
    matrix.data = on_device_.data();
    matrix.n_outputs = n_outputs;
    matrix.n_inputs = n_inputs;
    matrix.row_bytes = static_cast<uint64_t>(n_inputs / layout.block_values * layout.block_bytes);
  }
  int64_t matrix_bytes() const { return static_cast<int64_t>(matrix.row_bytes) * matrix.n_outputs; }
  cuda::Matrix matrix;

 private:
  static size_t count(TensorType type, int64_t n) {
    return static_cast<size_t>(n / gguf::type_layout(type).block_values);
  }
  OnDevice<std::byte> on_device_;
};

// Rows that are computed on the device, with room for their forms and what counts them.
struct Outputs {
  Outputs(int64_t n_rows, int64_t n_columns)
      : values(static_cast<size_t>(n_rows * n_columns)),
        forms(cuda::form_bytes(n_rows, n_columns)),
        n_done(std::vector<uint32_t>(static_cast<size_t>(cuda::n_output_blocks(n_rows, n_columns)))),
        not_finite(std::vector<int32_t>{0}) {
    to.values = values.data();
    to.stride = n_columns;
    to.n_rows = n_rows;
    to.n_columns = n_columns;
    cuda::place_forms(to, forms.data());
    REQUIRE(cudaMemset(forms.data(), 0, forms.size()) == cudaSuccess);  // and what lies between them
  }
  cuda::OutputForms output_forms() const { return {to, n_done.data(), not_finite.data()}; }
  void check_counted() const {
    for (const uint32_t n : n_done.values()) CHECK(n == 0);
  }

  OnDevice<float> values;
  OnDevice<std::byte> forms;
  OnDevice<uint32_t> n_done;
  OnDevice<int32_t> not_finite;
  cuda::Activations to;
};

void check_same(const Outputs& made, const Outputs& expected) {
  CHECK(same_bits(made.values.values(), expected.values.values()));
  CHECK(same_bits(made.forms.values(), expected.forms.values()));
  CHECK(made.not_finite.values() == expected.not_finite.values());
  made.check_counted();
}

}  // namespace

TEST_CASE("a product makes the forms of its outputs as a launch of its own does, again and again") {
  struct Case {
    TensorType type;
    int64_t n_outputs, n_matrices;
    bool is_infinite = false;
  };
  for (const Case& c :
       {Case{TensorType::Q4_K, 288, 1}, Case{TensorType::IQ1_S, 512, 1}, Case{TensorType::F16, 70, 1},
        Case{TensorType::Q6_K, 96, 5}, Case{TensorType::Q8_0, 33, 3}, Case{TensorType::Q4_K, 288, 1, true}}) {
    CAPTURE(c.n_outputs);
    const Weights weights(c.type, c.n_outputs, 256, 3, c.n_matrices);
    std::vector<float> bias(static_cast<size_t>(c.n_outputs));
    bias[299 % bias.size()] = std::numeric_limits<float>::infinity();
    const OnDevice<float> bias_on(bias);
    const Inputs inputs(random_floats(static_cast<size_t>(c.n_matrices) * 256, 4), 256);
    const Outputs made(1, c.n_outputs * c.n_matrices), expected(1, c.n_outputs * c.n_matrices);
    cuda::MatrixProducts products;
    products.matrix = weights.matrix;
    if (c.is_infinite) products.matrix.bias = bias_on.data();
    products.n_matrices = c.n_matrices;
    products.matrix_stride = weights.matrix_bytes();
    products.input = inputs.activations();
    products.input_matrix_step = 1;
    products.output = made.values.data();
    products.output_matrix_stride = c.n_outputs;
    products.forms = made.output_forms();
    cuda::Launches list;
    cuda::multiply(list, products);
    cuda::multiply(list, products);
    CHECK(list.size() == 2);
    products.output = expected.values.data();
    products.forms = {};
    cuda::multiply(list, products);
    cuda::quantize(list, expected.to, expected.not_finite.data());
    run(list);
    check_same(made, expected);
    CHECK(made.not_finite.values()[0] == (c.is_infinite ? 1 : 0));
  }
}

TEST_CASE("a product is added to what is there") {
  for (const int64_t n_inputs : {1, 3}) {
    const int64_t n_outputs = 37;
    const Weights weights(TensorType::Q5_K, n_outputs, 512, 3);
    const Inputs inputs(random_floats(static_cast<size_t>(n_inputs) * 512, 4), 512);
    const size_t n = static_cast<size_t>(n_inputs * n_outputs);
    std::vector<float> sum = random_floats(n, 5);
    const OnDevice<float> added(sum), alone(n);
    cuda::MatrixProducts products;
    products.matrix = weights.matrix;
    products.input = inputs.activations();
    products.n_inputs_each = n_inputs;
    products.output = alone.data();
    products.output_stride = n_outputs;
    cuda::Launches list;
    cuda::multiply(list, products);
    products.output = added.data();
    products.adds = true;
    cuda::multiply(list, products);
    run(list);
    const std::vector<float> one = alone.values();
    for (size_t i = 0; i < n; ++i) sum[i] += one[i];
    CHECK(same_bits(added.values(), sum));
  }
}

TEST_CASE("matrices of different formats and shapes are multiplied together as they are alone") {
  struct One {
    TensorType type;
    int64_t n_outputs;
  };
  for (const std::vector<One>& ones : {std::vector<One>{{TensorType::Q4_K, 1}},
                                       {{TensorType::Q4_K, 70}, {TensorType::Q6_K, 9}},
                                       {{TensorType::Q6_K, 33}, {TensorType::Q5_K, 1}, {TensorType::Q4_K, 130}}}) {
    const int64_t n_columns = 768;
    const Inputs inputs(random_floats(static_cast<size_t>(n_columns), 4), n_columns);
    std::vector<std::unique_ptr<Weights>> weights;
    std::vector<std::unique_ptr<OnDevice<float>>> made, expected, biases;
    std::vector<cuda::MatrixProducts> products;
    cuda::Launches list;
    for (const One& one : ones) {
      const uint32_t seed = static_cast<uint32_t>(weights.size());
      const size_t n = static_cast<size_t>(one.n_outputs);
      weights.push_back(std::make_unique<Weights>(one.type, one.n_outputs, n_columns, seed));
      biases.push_back(std::make_unique<OnDevice<float>>(random_floats(n, seed)));
      made.push_back(std::make_unique<OnDevice<float>>(n));
      expected.push_back(std::make_unique<OnDevice<float>>(n));
      cuda::MatrixProducts product;
      product.matrix = weights.back()->matrix;
      if (seed == 1) product.matrix.bias = biases.back()->data();
      product.input = inputs.activations();
      product.output = expected.back()->data();
      cuda::multiply(list, product);
      product.output = made.back()->data();
      products.push_back(product);
    }
    cuda::multiply_together(list, products);
    CHECK(list.size() == ones.size() + 1);
    run(list);
    for (size_t i = 0; i < ones.size(); ++i) CHECK(same_bits(made[i]->values(), expected[i]->values()));
  }
}

TEST_CASE("gate and up of one expert are one launch, with the forms of what they give") {
  for (const auto& [type, n_hidden] :
       {std::pair(TensorType::Q5_K, 288), std::pair(TensorType::Q8_0, 31), std::pair(TensorType::IQ1_S, 512)}) {
    const Weights gate(type, n_hidden, 512, 1), up(type, n_hidden, 512, 2);
    // So small that the gates of random weights are of ordinary size.
    const Inputs inputs(random_floats(512, 4, 1e-3f), 512);
    const Outputs made(1, n_hidden), expected(1, n_hidden);
    const OnDevice<float> up_values(static_cast<size_t>(n_hidden));
    cuda::Launches list;
    cuda::multiply_gated(list, gate.matrix, up.matrix, inputs.activations(), made.output_forms());
    CHECK(list.size() == 1);
    cuda::MatrixProducts products;
    products.input = inputs.activations();
    products.matrix = gate.matrix;
    products.output = expected.values.data();
    cuda::multiply(list, products);
    products.matrix = up.matrix;
    products.output = up_values.data();
    cuda::multiply(list, products);
    cuda::swiglu_quantize(list, expected.values.data(), n_hidden, up_values.data(), n_hidden, expected.to,
                          expected.not_finite.data());
    run(list);
    check_same(made, expected);
  }
}

TEST_CASE("experts make the forms of what gate and up give, those of absent ones apart") {
  const int64_t n_hidden = 288, n_columns = 256, n_used = 3;
  for (const TensorType up_type : {TensorType::Q4_K, TensorType::Q8_0}) {
    const Weights gate(TensorType::Q4_K, n_hidden, n_columns, 1, 3), up(up_type, n_hidden, n_columns, 2, 3),
        down(TensorType::Q8_0, n_columns, n_hidden, 3, 3);
    std::vector<cuda::ExpertPlace> places;
    for (int64_t e = 0; e < 3; ++e)
      places.push_back({gate.matrix.data + e * gate.matrix_bytes(), up.matrix.data + e * up.matrix_bytes(),
                        down.matrix.data + e * down.matrix_bytes()});
    places[1] = {};
    const OnDevice<cuda::ExpertPlace> places_on(places);
    const OnDevice<int32_t> ids(std::vector<int32_t>{2, 1, 0, 0, 2, 1});
    const OnDevice<float> weights(random_floats(6, 5));
    const Inputs inputs(random_floats(static_cast<size_t>(2 * n_columns), 6, 1e-3f), n_columns);
    const Outputs made(6, n_hidden), expected(6, n_hidden);
    const OnDevice<float> sum(static_cast<size_t>(2 * n_columns)), expected_sum(static_cast<size_t>(2 * n_columns));
    cuda::ExpertsCall call;
    call.gate = gate.matrix;
    call.up = up.matrix;
    call.down = down.matrix;
    call.places = places_on.data();
    call.ids = ids.data();
    call.weights = weights.data();
    call.n_used = n_used;
    call.input = inputs.activations();
    call.output_stride = n_columns;
    call.hidden = made.to;
    call.output = sum.data();
    call.not_finite = made.not_finite.data();
    call.n_done = made.n_done.data();
    cuda::Launches list;
    cuda::multiply_experts(list, call);
    const size_t n_fused = list.size();
    call.hidden = expected.to;
    call.output = expected_sum.data();
    call.n_done = nullptr;
    cuda::multiply_experts(list, call);
    CHECK(list.size() == 2 * n_fused + 1);
    run(list);
    CHECK(same_bits(sum.values(), expected_sum.values()));
    CHECK(same_bits(made.values.values(), expected.values.values()));
    made.check_counted();
  }
}

TEST_CASE("a router's product, its choice and the publication are one launch, which counts from zero each time") {
  for (const int64_t n_experts : {3, 40, 130}) {
    const int64_t n_columns = 300, n_used = 3;
    const std::vector<float> matrix = random_floats(static_cast<size_t>(n_experts * n_columns), 1);
    const OnDevice<float> matrix_on(matrix), bias(random_floats(static_cast<size_t>(n_experts), 2));
    const Inputs inputs(random_floats(static_cast<size_t>(n_columns), 3), n_columns);
    const OnDevice<float> logits(static_cast<size_t>(n_experts)), expected_logits(logits.size()), weights(3),
        expected_weights(3);
    const OnDevice<int32_t> ids(3), expected_ids(3);
    const OnDevice<uint32_t> n_done(std::vector<uint32_t>{0}), pass(std::vector<uint32_t>{77});
    std::vector<cuda::ExpertPlace> places(static_cast<size_t>(n_experts));
    for (size_t e = 1; e < places.size(); e += 2) places[e].gate = reinterpret_cast<const std::byte*>(&matrix);
    const OnDevice<cuda::ExpertPlace> places_on(places);
    const cuda::MeetingShape shape{1, n_used, n_columns};
    const OnDevice<std::byte> memory(cuda::meeting_bytes(shape)), expected_memory(cuda::meeting_bytes(shape));
    for (const auto* one : {&memory, &expected_memory})
      REQUIRE(cudaMemset(one->data(), 0xFF, one->size()) == cudaSuccess);

    cuda::RoutedProduct call;
    call.router.type = TensorType::F32;
    call.router.data = reinterpret_cast<const std::byte*>(matrix_on.data());
    call.router.n_outputs = n_experts;
    call.router.n_inputs = n_columns;
    call.router.row_bytes = static_cast<uint64_t>(n_columns) * 4;
    call.input = inputs.activations();
    call.choice = {{.n_experts = n_experts, .n_chosen = n_used, .normalize = true},
                   logits.data(),
                   n_experts,
                   1,
                   bias.data(),
                   ids.data(),
                   weights.data()};
    call.n_done = n_done.data();
    cuda::PublishCall publish;
    publish.shape = shape;
    publish.to = cuda::place_meeting(shape, memory.data());
    publish.places = places_on.data();
    publish.ids = ids.data();
    publish.weights = weights.data();
    publish.inputs = {inputs.activations().values, 1, n_columns, n_columns};
    publish.pass = pass.data();
    cuda::Launches list;
    cuda::multiply_and_route(list, call);  // that nobody is told of
    call.publication = &publish;
    cuda::multiply_and_route(list, call);
    CHECK(list.size() == 2);

    cuda::MatrixProducts product;
    product.matrix = call.router;
    product.input = call.input;
    product.output = expected_logits.data();
    cuda::multiply(list, product);
    call.choice.logits = expected_logits.data();
    call.choice.ids = expected_ids.data();
    call.choice.weights = expected_weights.data();
    cuda::route(list, call.choice);
    publish.to = cuda::place_meeting(shape, expected_memory.data());
    publish.ids = expected_ids.data();
    publish.weights = expected_weights.data();
    cuda::publish_choice(list, publish);
    run(list);
    CHECK(same_bits(logits.values(), expected_logits.values()));
    CHECK(ids.values() == expected_ids.values());
    for (size_t k = 0; k < 3; ++k) CHECK(weights.values()[k] == doctest::Approx(expected_weights.values()[k]));
    CHECK(n_done.values()[0] == 0);
    const std::vector<std::byte> published = memory.values(), expected = expected_memory.values();
    const auto* const begin = memory.data();
    const auto* const own_weights =
        reinterpret_cast<const std::byte*>(cuda::place_meeting(shape, memory.data()).weights);
    for (size_t i = 0; i < published.size(); ++i) {
      const bool is_weight = begin + i >= own_weights && begin + i < own_weights + 12;  // equal but for rounding
      if (!is_weight && published[i] != expected[i]) FAIL_CHECK("byte " << i << " of the publication differs");
    }
  }
}

TEST_CASE("the last product of a list notes when it ends, and nothing else does") {
  const Weights weights(TensorType::Q4_K, 300, 256, 3);
  const Inputs inputs(random_floats(256, 4), 256);
  const OnDevice<float> output(300);
  const OnDevice<uint64_t> moment(std::vector<uint64_t>{0});
  cuda::Launches list;
  CHECK_FALSE(cuda::note_end(list, moment.data()));
  cuda::MatrixProducts products;
  products.matrix = weights.matrix;
  products.input = inputs.activations();
  products.output = output.data();
  cuda::multiply(list, products);
  CHECK(cuda::note_end(list, moment.data()));
  CHECK(list.size() == 1);
  run(list);
  CHECK(moment.values()[0] != 0);
  cuda::route(list, {{.n_experts = 4, .n_chosen = 2},
                     output.data(),
                     4,
                     1,
                     nullptr,
                     reinterpret_cast<int32_t*>(output.data()),
                     output.data()});
  CHECK_FALSE(cuda::note_end(list, moment.data()));
  cuda::note_arrival(list, {.moments = reinterpret_cast<cuda::GpuMoments*>(moment.data())});
  CHECK(list.size() == 3);
}

TEST_CASE("a norm adds the host's answer as a launch of its own does") {
  struct Case {
    uint32_t pass;  // whose answer lies there; 5 is awaited
    uint32_t has_rows;
    bool replaces;
  };
  for (const int64_t n_columns : {33, 1024, 1500, 9000})
    for (const Case& c : {Case{5, 1, false}, {5, 0, false}, {4, 1, false}, {5, 1, true}, {5, 0, true}, {4, 1, true}}) {
      CAPTURE(n_columns);
      if (n_columns > 1500 && c.replaces) continue;
      const int64_t n_rows = 2;
      const size_t n = static_cast<size_t>(n_rows * n_columns);
      const cuda::MeetingShape shape{n_rows, 0, n_columns};
      const OnDevice<std::byte> memory(std::vector<std::byte>(cuda::meeting_bytes(shape)));
      const cuda::MeetingPlaces places = cuda::place_meeting(shape, memory.data());
      const std::vector<float> results = random_floats(n, 1);
      REQUIRE(cudaMemcpy(places.results, results.data(), n * 4, cudaMemcpyHostToDevice) == cudaSuccess);
      const cuda::AnswerHead head{c.pass, c.has_rows};
      REQUIRE(cudaMemcpy(places.answer, &head, sizeof head, cudaMemcpyHostToDevice) == cudaSuccess);
      const OnDevice<uint32_t> pass(std::vector<uint32_t>{5});
      const OnDevice<float> weight(random_floats(static_cast<size_t>(n_columns), 2)), x(random_floats(n, 3)),
          expected_x(random_floats(n, 3)), change(random_floats(n, 4));
      const Outputs made(n_rows, n_columns), expected(n_rows, n_columns);
      const auto unanswered = [&] {
        uint32_t word = 0;
        REQUIRE(cudaMemcpy(&word, places.unanswered, 4, cudaMemcpyDeviceToHost) == cudaSuccess);
        REQUIRE(cudaMemset(places.unanswered, 0, 4) == cudaSuccess);
        return word;
      };
      cuda::ResidualNorm norm;
      norm.x_stride = norm.change_stride = n_columns;
      norm.change = change.data();
      norm.weight = weight.data();
      norm.epsilon = 1e-5f;
      const cuda::FloatRows changed{change.data(), n_rows, n_columns, n_columns};

      cuda::Launches list;
      cuda::add_result(list, {shape, places, changed, pass.data(), c.replaces});
      CHECK_FALSE(cuda::take_added_result(list, {change.data(), 1, n_columns, n_columns}));
      const std::optional<cuda::Answer> answer = cuda::take_added_result(list, changed);
      REQUIRE(answer);
      CHECK(list.empty());
      CHECK_FALSE(cuda::take_added_result(list, changed));
      norm.answer = *answer;
      norm.x = x.data();
      cuda::residual_norm_quantize(list, norm, made.to, made.not_finite.data());
      run(list);
      CHECK(unanswered() == (c.pass == 5 ? 0u : 1u));

      list.clear();
      cuda::add_result(list, {shape, places, changed, pass.data(), c.replaces});
      norm.answer = {};
      norm.x = expected_x.data();
      cuda::residual_norm_quantize(list, norm, expected.to, expected.not_finite.data());
      run(list);
      CHECK(unanswered() == (c.pass == 5 ? 0u : 1u));
      CHECK(same_bits(x.values(), expected_x.values()));
      check_same(made, expected);
    }
}
