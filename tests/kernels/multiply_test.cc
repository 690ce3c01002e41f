// Products against plain double-precision sums over the dequantised values.
#include "kernels/reference/multiply.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "kernels/format.h"
#include "kernels/reference/dequantize.h"
#include "kernels/reference/matmul.h"
#include "kernels/reference/quantize.h"
#include "tests/kernels/golden.h"

using namespace sluice;
using namespace sluice::kernels;
using namespace sluice::kernels::reference;
using gguf::TensorType;

static std::vector<float> random_values(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

namespace {

// A matrix made of the golden blocks of a type whose values are all of ordinary size.
struct Matrix {
  std::vector<std::byte> bytes;
  std::vector<float> values;  // [n_rows, n_columns]
  int64_t n_rows = 0, n_columns = 0;
};

Matrix golden_matrix(const gguf::TypeLayout& layout, size_t blocks_a_row) {
  test::Golden golden("dequantize/" + std::string(layout.name) + ".bin");
  const uint32_t n_blocks = golden.read<uint32_t>(1)[0];
  const auto blocks = golden.read<std::byte>(size_t{n_blocks} * layout.block_bytes);
  const auto values = golden.read<float>(size_t{n_blocks} * layout.block_values);
  Matrix matrix;
  size_t n_kept = 0;
  for (size_t i = 0; i < n_blocks; ++i) {
    const float* first = &values[i * layout.block_values];
    auto ordinary = [](float value) { return std::fabs(value) < 1e20f; };
    if (!std::all_of(first, first + layout.block_values, ordinary)) continue;
    ++n_kept;
    matrix.bytes.insert(matrix.bytes.end(), &blocks[i * layout.block_bytes],
                        &blocks[i * layout.block_bytes] + layout.block_bytes);
    matrix.values.insert(matrix.values.end(), first, first + layout.block_values);
  }
  matrix.n_rows = static_cast<int64_t>(n_kept / blocks_a_row);
  matrix.n_columns = static_cast<int64_t>(blocks_a_row * layout.block_values);
  return matrix;
}

// Compares out[m, n_rows] with the naive product of the matrix and x[m, n_columns], to a part of the sum of magnitudes.
void check_product(const Matrix& matrix, const std::vector<double>& x, const std::vector<float>& out,
                   double tolerance) {
  const size_t n_columns = static_cast<size_t>(matrix.n_columns), n_rows = static_cast<size_t>(matrix.n_rows);
  for (size_t j = 0; j < x.size() / n_columns; ++j)
    for (size_t r = 0; r < n_rows; ++r) {
      double sum = 0, magnitude = 0;
      for (size_t i = n_columns; i-- > 0;) {
        const double term = matrix.values[r * n_columns + i] * x[j * n_columns + i];
        sum += term;
        magnitude += std::fabs(term);
      }
      CHECK(std::fabs(out[j * n_rows + r] - sum) <= tolerance * magnitude);
    }
}

template <class Block>
std::vector<double> decoded(const std::vector<Block>& blocks) {
  std::vector<double> values;
  for (const Block& block : blocks)
    for (int8_t q : block.q) values.push_back(double{block.scale} * q);
  return values;
}

}  // namespace

TEST_CASE("every type multiplies activations of one, two and seven rows as the dequantised matrix would") {
  for (const Format& format : all_formats()) {
    CAPTURE(format.layout->name);
    const Matrix matrix = golden_matrix(*format.layout, format.layout->block_values == 1 ? 5 : 2);
    REQUIRE(matrix.n_rows >= 2);
    for (int64_t m : {1, 2, 7}) {
      CAPTURE(m);
      const size_t n = static_cast<size_t>(m * matrix.n_columns);
      const std::vector<float> x = random_values(n, 5);
      std::vector<float> out(static_cast<size_t>(m * matrix.n_rows), NAN);
      multiply(format.type, matrix.bytes.data(), matrix.n_rows, matrix.n_columns, x.data(), m, out.data());
      check_product(matrix, {x.begin(), x.end()}, out, 1e-7);

      if (format.activation == ActivationFormat::Per32) {
        std::vector<Activation32> blocks(n / 32);
        REQUIRE(quantize_per32(x.data(), static_cast<int64_t>(n), blocks.data()));
        std::fill(out.begin(), out.end(), NAN);
        multiply(format.type, matrix.bytes.data(), matrix.n_rows, matrix.n_columns, blocks.data(), m, out.data());
        check_product(matrix, decoded(blocks), out, 1e-7);
        check_product(matrix, {x.begin(), x.end()}, out, 0.03);  // what 8 bits cost, at most
      } else if (format.activation == ActivationFormat::Per256) {
        std::vector<Activation256> blocks(n / 256);
        REQUIRE(quantize_per256(x.data(), static_cast<int64_t>(n), blocks.data()));
        std::fill(out.begin(), out.end(), NAN);
        multiply(format.type, matrix.bytes.data(), matrix.n_rows, matrix.n_columns, blocks.data(), m, out.data());
        check_product(matrix, decoded(blocks), out, 1e-7);
        check_product(matrix, {x.begin(), x.end()}, out, 0.03);
      }
    }
  }
}

TEST_CASE("the transposed product adds up rows") {
  for (const Format& format : all_formats()) {
    CAPTURE(format.layout->name);
    const Matrix matrix = golden_matrix(*format.layout, 1);
    const std::vector<float> x = random_values(static_cast<size_t>(matrix.n_rows), 9);
    const size_t n_columns = static_cast<size_t>(matrix.n_columns);
    std::vector<float> out(n_columns, NAN);
    multiply_transposed(format.type, matrix.bytes.data(), matrix.n_rows, matrix.n_columns, x.data(), out.data());
    for (size_t i = 0; i < n_columns; ++i) {
      double sum = 0, magnitude = 0;
      for (size_t r = x.size(); r-- > 0;) {
        sum += double{x[r]} * matrix.values[r * n_columns + i];
        magnitude += std::fabs(double{x[r]} * matrix.values[r * n_columns + i]);
      }
      CHECK(std::fabs(out[i] - sum) <= 1e-7 * magnitude);
    }
  }
}

TEST_CASE("a product of whole numbers comes out exact") {
  std::vector<float> weights(64), x(64);
  for (size_t i = 0; i < 64; ++i) {
    weights[i] = static_cast<float>(static_cast<int>(i * 37 % 255) - 127);
    x[i] = static_cast<float>(static_cast<int>(i * 91 % 255) - 127);
  }
  weights[3] = weights[40] = x[7] = x[50] = 127;  // so that every scale is 1
  std::vector<std::byte> blocks(68);
  quantize(TensorType::Q8_0, weights.data(), 64, blocks.data());
  Activation32 activations[2];
  REQUIRE(quantize_per32(x.data(), 64, activations));
  int expected = 0;
  for (size_t i = 0; i < 64; ++i) expected += static_cast<int>(weights[i]) * static_cast<int>(x[i]);
  float out = NAN;
  multiply(TensorType::Q8_0, blocks.data(), 1, 64, activations, 1, &out);
  CHECK(out == static_cast<float>(expected));
}

TEST_CASE("a product with the wrong form of activations, or with part of a block, is refused") {
  std::vector<std::byte> weights(1024);
  std::vector<float> x(256), out(4);
  Activation32 per32[8] = {};
  Activation256 per256[1] = {};
  CHECK_THROWS_AS(multiply(TensorType::Q4_K, weights.data(), 1, 256, per32, 1, out.data()), std::invalid_argument);
  CHECK_THROWS_AS(multiply(TensorType::Q8_0, weights.data(), 1, 256, per256, 1, out.data()), std::invalid_argument);
  CHECK_THROWS_AS(multiply(TensorType::F16, weights.data(), 1, 256, per256, 1, out.data()), std::invalid_argument);
  CHECK_THROWS_AS(multiply(TensorType::Q4_K, weights.data(), 1, 128, x.data(), 1, out.data()), std::invalid_argument);
  CHECK_THROWS_AS(multiply_transposed(TensorType::Q8_0, weights.data(), 1, 40, x.data(), out.data()),
                  std::invalid_argument);
  CHECK_NOTHROW(multiply(TensorType::Q4_K, weights.data(), 1, 256, per256, 1, out.data()));
}

TEST_CASE("matmul multiplies by rows of the second matrix") {
  const float a[] = {1, 2, 3, 4, 5, 6}, b[] = {1, 0, -1, 2, 2, 2, 0, 0, 10, 0.5f, 0, 0};  // [2, 3] and [4, 3]
  float out[8];
  matmul(a, b, 2, 4, 3, out);
  const float expected[] = {-2, 12, 30, 0.5f, -2, 30, 60, 2};
  for (size_t i = 0; i < 8; ++i) CHECK(out[i] == expected[i]);
}

TEST_CASE("sums keep small terms beside large ones that cancel") {
  const float a[] = {1e20f, 1, -1e20f, 1e-3f};
  const float b[] = {1, 3, 1, 0};
  float out;
  matmul(b, a, 1, 1, 4, &out);
  CHECK(out == 0);  // 53 bits do not hold 1e20 + 3 either
  const float c[] = {1e9f, 1, -1e9f, 1e-3f};
  matmul(b, c, 1, 1, 4, &out);
  CHECK(out == 3);  // but 24 bits would not have held 1e9 + 3
}
