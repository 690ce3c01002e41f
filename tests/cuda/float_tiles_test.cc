// Matrices of floats with many inputs, by tiles on tensor cores: they must be as exact as sums of floats are.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cuda/gemm_products.h"
#include "kernels/cuda/multiply.h"
#include "kernels/format.h"
#include "kernels/reference/half.h"
#include "tests/cuda/device.h"
#include "tests/cuda/inputs.h"

using namespace sluice;
using namespace sluice::kernels;
using namespace sluice::test;
using gguf::TensorType;

namespace {

constexpr TensorType kFloats[] = {TensorType::F32, TensorType::F16, TensorType::BF16};

// Those that the architecture has tiles for.
std::vector<TensorType> tiled_types() {
  std::vector<TensorType> types;
  for (const TensorType type : kFloats)
    if (cuda::is_multiplied_by_tiles(type, cuda::kGemmInputs)) types.push_back(type);
  return types;
}

size_t value_bytes(TensorType type) {
  return gguf::type_layout(type).block_bytes;
}

// Values as the type has them, and these as floats.
std::vector<std::byte> stored(TensorType type, std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * value_bytes(type));
  for (size_t i = 0; i < values.size(); ++i) {
    if (type == TensorType::F32) {
      std::memcpy(&bytes[i * 4], &values[i], 4);
      continue;
    }
    const bool is_f16 = type == TensorType::F16;
    const uint16_t bits = is_f16 ? reference::f32_to_f16(values[i]) : reference::f32_to_bf16(values[i]);
    std::memcpy(&bytes[i * 2], &bits, 2);
    values[i] = is_f16 ? reference::f16_to_f32(bits) : reference::bf16_to_f32(bits);
  }
  return bytes;
}

struct Shape {
  int64_t n_outputs, n_columns, n_inputs;
  int64_t offset = 0;   // of the matrix from an aligned address, in values
  int n_warps = 0;      // of a tile; 0: as multiply() chooses
  int64_t between = 0;  // floats between two inputs
};

// One matrix and its inputs.
struct Case {
  TensorType type;
  Shape shape;
  std::vector<float> weights;
  std::vector<float> inputs;
  std::vector<float> bias;
};

Case random_case(TensorType type, const Shape& shape, uint32_t seed) {
  Case c{type,
         shape,
         random_floats(static_cast<size_t>(shape.n_outputs * shape.n_columns), seed),
         random_floats(static_cast<size_t>(shape.n_inputs * shape.n_columns), seed + 1),
         {}};
  if (seed % 2 == 0) c.bias = random_floats(static_cast<size_t>(shape.n_outputs), seed + 2);
  return c;
}

// [n_inputs, n_outputs]. The weights become what the type makes of them.
std::vector<float> multiply_by_tiles(Case& c) {
  const Shape& shape = c.shape;
  const OnDevice<std::byte> weights(stored(c.type, c.weights), static_cast<size_t>(shape.offset) * value_bytes(c.type));
  const int64_t stride = shape.n_columns + shape.between;
  std::vector<float> apart(static_cast<size_t>((shape.n_inputs - 1) * stride + shape.n_columns), NAN);
  for (int64_t i = 0; i < shape.n_inputs; ++i)
    std::copy_n(c.inputs.begin() + i * shape.n_columns, shape.n_columns, apart.begin() + i * stride);
  const OnDevice<float> inputs(apart), bias(c.bias), output(static_cast<size_t>(shape.n_inputs * shape.n_outputs));
  cuda::MatrixProducts products;
  products.matrix.type = c.type;
  products.matrix.data = weights.data();
  products.matrix.n_outputs = shape.n_outputs;
  products.matrix.n_inputs = shape.n_columns;
  products.matrix.row_bytes = static_cast<uint64_t>(shape.n_columns) * value_bytes(c.type);
  if (!c.bias.empty()) products.matrix.bias = bias.data();
  products.input.values = inputs.data();
  products.input.stride = stride;
  products.input.n_rows = shape.n_inputs;
  products.input.n_columns = shape.n_columns;
  products.n_inputs_each = shape.n_inputs;
  products.output = output.data();
  products.output_stride = shape.n_outputs;
  cuda::Launches list;
  if (shape.n_warps == 0)
    cuda::multiply(list, products);
  else
    cuda::append_tiles(list, products, shape.n_warps);
  REQUIRE(list.size() == 1);
  CHECK(std::string(list[0].name) == "multiply tiles " + std::string(gguf::type_layout(c.type).name));
  run(list);
  return output.values();
}

// `tolerance` of the terms' magnitudes, and for F16 2^-39 of the input's largest value times the weights' magnitudes (gemm_floats.cuh).
void check_case(Case c, double tolerance = 3e-7) {
  CAPTURE(gguf::type_layout(c.type).name);
  CAPTURE(c.shape.n_outputs);
  CAPTURE(c.shape.n_columns);
  CAPTURE(c.shape.n_inputs);
  const std::vector<float> made = multiply_by_tiles(c);
  const size_t n_columns = static_cast<size_t>(c.shape.n_columns), n_outputs = static_cast<size_t>(c.shape.n_outputs);
  int64_t n_wrong = 0;
  double worst = 0;
  for (size_t i = 0; i < static_cast<size_t>(c.shape.n_inputs); ++i)
    for (size_t r = 0; r < n_outputs; ++r) {
      double value = c.bias.empty() ? 0 : c.bias[r], magnitude = std::abs(value), largest = 0, of_weights = 0;
      for (size_t k = 0; k < n_columns; ++k) {
        const double weight = c.weights[r * n_columns + k], x = c.inputs[i * n_columns + k];
        value += weight * x;
        magnitude += std::abs(weight * x);
        largest = std::max(largest, std::abs(x));
        of_weights += std::abs(weight);
      }
      double allowed = tolerance * magnitude + 1.2e-7 * std::abs(value) + 2e-45;
      if (c.type == TensorType::F16) allowed += 0x1p-39 * largest * of_weights;
      const double error = std::abs(made[i * n_outputs + r] - value);
      worst = std::max(worst, error / std::max(magnitude, 1e-300));
      if (!(error <= allowed) && n_wrong++ == 0)
        FAIL_CHECK("output " << r << " of input " << i << " is " << made[i * n_outputs + r] << " and not " << value);
    }
  INFO("the largest error is " << worst << " of the terms' magnitudes");
  CHECK(n_wrong == 0);
}

}  // namespace

TEST_CASE("tiles of floats are sums of floats, for any number of rows, columns and inputs") {
  const Shape shapes[] = {{64, 64, 32},          {37, 100, 19, 1},      {1, 1, 12, 3},       {65, 31, 33, 1},
                          {70, 257, 243, 0, 8},  {33, 512, 100, 2, 4},  {5, 1504, 40, 5, 2}, {130, 40, 600, 1},
                          {66, 96, 65, 0, 4, 4}, {9, 130, 13, 8, 1, 3}, {3, 33, 17, 7, 8}};
  uint32_t seed = 1;
  for (const TensorType type : tiled_types())
    for (const Shape& shape : shapes) check_case(random_case(type, shape, seed++));
}

TEST_CASE("a product of floats alone keeps all its bits") {
  for (const TensorType type : tiled_types()) {
    // One column: of F32 six of nine products, of F16 22 bits of the input.
    Case c = random_case(type, {64, 1, 64}, 31);
    const std::vector<float> made = multiply_by_tiles(c);
    for (size_t i = 0; i < 64; ++i)
      for (size_t r = 0; r < 64; ++r) {
        const double value = double{c.weights[r]} * c.inputs[i];
        CHECK(std::abs(made[i * 64 + r] - value) <= 0x1.8p-23 * std::abs(value));
      }
  }
}

TEST_CASE("tiles of floats keep what is large and what is small") {
  for (const TensorType type : tiled_types()) {
    const float largest_weight = type == TensorType::F16 ? 65504 : 1e30f;
    const float least_weight = type == TensorType::F16 ? 0x1p-24f : 1e-30f;
    const Shape shape{20, 200, 21};
    const auto changed = [&](uint32_t seed, auto change) {
      Case c = random_case(type, shape, seed);
      c.bias.clear();
      for (size_t i = 0; i < c.inputs.size(); ++i)
        change(c.inputs[i], static_cast<int>(i / 200), static_cast<int>(i % 200), false);
      for (size_t i = 0; i < c.weights.size(); ++i)
        change(c.weights[i], static_cast<int>(i / 200), static_cast<int>(i % 200), true);
      check_case(c);
    };
    // Inputs of all magnitudes, each row its own, and rows of zeros.
    changed(41, [](float& x, int row, int, bool is_weight) {
      if (!is_weight) x = row == 20 ? 0 : std::ldexp(x, row * 10 - 100);
    });
    // Inputs that grow along the row, or fall.
    changed(42, [](float& x, int row, int column, bool is_weight) {
      if (!is_weight) x = std::ldexp(x, (row % 2 == 0 ? 1 : -1) * (column / 8 - 12) * (row / 2));
    });
    // One that is much larger than the others, somewhere.
    changed(43, [](float& x, int row, int column, bool is_weight) {
      if (!is_weight && column == row * 9) x *= 1e4f;
    });
    // Weights at the ends of what the type has.
    changed(44, [&](float& x, int row, int, bool is_weight) {
      if (is_weight) x = row % 2 == 0 ? std::clamp(x, -1.0f, 1.0f) * largest_weight : x * 16 * least_weight;
    });
    if (type != TensorType::F16)
      changed(45, [](float& x, int row, int column, bool) { x = std::ldexp(x, (row * 7 + column * 11) % 80 - 40); });
  }
  // Sums beyond floats are infinite where their products are none.
  for (const TensorType type : tiled_types()) {
    Case c = random_case(type, {2, 40, 12}, 47);
    std::fill(c.weights.begin(), c.weights.end(), 4.0f);
    std::fill(c.inputs.begin(), c.inputs.end(), -0x1p124f);
    for (const float made : multiply_by_tiles(c)) CHECK(made == -INFINITY);
  }
}

TEST_CASE("what is not finite stays so, and where it is") {
  for (const TensorType type : tiled_types())
    for (const float wrong : {INFINITY, -INFINITY, NAN}) {
      Case sound = random_case(type, {67, 70, 40}, 51);
      const std::vector<float> expected = multiply_by_tiles(sound);
      for (const size_t column : {size_t{0}, size_t{69}}) {
        Case c = sound;
        c.inputs[33 * 70 + column] = wrong;
        c.weights[66 * 70 + column] = wrong;
        const std::vector<float> made = multiply_by_tiles(c);
        size_t n_other = 0;
        for (size_t i = 0; i < 40; ++i)
          for (size_t r = 0; r < 67; ++r)
            n_other += i == 33 || r == 66 ? std::isfinite(made[i * 67 + r]) : made[i * 67 + r] != expected[i * 67 + r];
        CHECK(n_other == 0);
      }
    }
}

TEST_CASE("an output of a tile of floats has the same bits in every company and in tiles of every size") {
  for (const TensorType type : tiled_types()) {
    Case c = random_case(type, {70, 300, 45, 0, 1}, 61);
    // Rows of several magnitudes: the powers of one must not touch another.
    for (size_t i = 0; i < c.inputs.size(); ++i) c.inputs[i] = std::ldexp(c.inputs[i], static_cast<int>(i / 300 % 30));
    c.bias.clear();
    const std::vector<float> all = multiply_by_tiles(c);
    for (const int n_warps : {2, 4, 8}) {
      Case other = c;
      other.shape.n_warps = n_warps;
      CHECK(same_bits(multiply_by_tiles(other), all));
    }
    // Row 69 at another address, and every third input, further apart.
    Case few{type, {1, 300, 15, 3, 0, 5}, {c.weights.end() - 300, c.weights.end()}, {}, {}};
    for (int64_t i = 0; i < 15; ++i)
      few.inputs.insert(few.inputs.end(), c.inputs.begin() + i * 900, c.inputs.begin() + i * 900 + 300);
    const std::vector<float> made = multiply_by_tiles(few);
    for (size_t i = 0; i < made.size(); ++i) CHECK(made[i] == all[i * 3 * 70 + 69]);
  }
}

TEST_CASE("a batch multiplies each matrix of floats with its own inputs by tiles") {
  for (const TensorType type : tiled_types()) {
    const int64_t n_matrices = 3, n_each = 17, n_rows = 9, n_columns = 75, of_matrix = n_rows * n_columns;
    const int64_t bytes = static_cast<int64_t>(value_bytes(type)), stride = (of_matrix + 3) * bytes;
    std::vector<float> values = random_floats(static_cast<size_t>(n_matrices * of_matrix), 3);
    const std::vector<std::byte> blocks = stored(type, values);
    std::vector<std::byte> apart(static_cast<size_t>((n_matrices - 1) * stride + of_matrix * bytes));
    for (int64_t m = 0; m < n_matrices; ++m)
      std::copy_n(blocks.begin() + m * of_matrix * bytes, of_matrix * bytes, apart.begin() + m * stride);
    const OnDevice<std::byte> weights(apart, value_bytes(type));
    const Inputs inputs(random_floats(static_cast<size_t>(n_matrices * n_each * n_columns), 8), n_columns);
    const OnDevice<float> output(static_cast<size_t>(n_each * n_matrices * n_rows));
    cuda::Matrix matrix;
    matrix.type = type;
    matrix.data = weights.data();
    matrix.n_outputs = n_rows;
    matrix.n_inputs = n_columns;
    matrix.row_bytes = static_cast<uint64_t>(n_columns * bytes);
    const cuda::MatrixProducts products = products_side_by_side(matrix, n_matrices, stride, inputs, n_each, output);
    cuda::Launches list;
    cuda::multiply(list, products);
    REQUIRE(std::string(list.at(0).name).starts_with("multiply tiles"));
    run(list);
    const std::vector<float> made = output.values();
    for (int64_t m = 0; m < n_matrices; ++m)
      for (int64_t i = 0; i < n_each; ++i)
        for (int64_t r = 0; r < n_rows; ++r) {
          const auto row = values.begin() + m * of_matrix + r * n_columns;
          const Product expected = reference_product(type, {row, row + n_columns}, inputs.row(i * n_matrices + m));
          CHECK(std::abs(made[static_cast<size_t>((i * n_matrices + m) * n_rows + r)] - expected.value) <=
                3e-7 * expected.magnitude);
        }
  }
}
