// Products in every format, in shapes that are odd and at addresses that are.
#include "kernels/cuda/multiply.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "kernels/format.h"
#include "kernels/reference/dequantize.h"
#include "kernels/reference/multiply.h"
#include "tests/cuda/device.h"
#include "tests/cuda/inputs.h"
#include "tests/kernels/random_blocks.h"

using namespace sluice;
using namespace sluice::kernels;
using namespace sluice::test;

namespace {

// Some numbers of columns that the format allows: its block and a few blocks, not all the same for all formats.
std::vector<int64_t> columns_of(const Format& format) {
  const int64_t block = format.layout->block_values;
  if (block == 1) return {1, 31, 100, 768, 1500};
  if (block < 256) return {block, 2 * block, 576 / block * block, 1408 / block * block, 11 * block};
  return {256, 512, 768, 1536, 4352};
}

cuda::Matrix matrix_of(const Format& format, const std::byte* data, int64_t n_outputs, int64_t n_inputs) {
  cuda::Matrix matrix;
  matrix.type = format.type;
  matrix.data = data;
  matrix.n_outputs = n_outputs;
  matrix.n_inputs = n_inputs;
  matrix.row_bytes = static_cast<uint64_t>(n_inputs / format.layout->block_values * format.layout->block_bytes);
  return matrix;
}

size_t blocks_in(const cuda::Matrix& matrix) {
  return static_cast<size_t>(matrix.n_outputs * matrix.n_inputs / format_of(matrix.type).layout->block_values);
}

// Blocks of any format: of those that nothing is multiplied by, any whole numbers, and floats of ordinary size.
std::vector<std::byte> blocks_of(const Format& format, size_t n_blocks, uint32_t seed) {
  if (format.activation != ActivationFormat::None) return random_blocks(format, n_blocks, seed);
  std::vector<std::byte> bytes(n_blocks * format.layout->block_bytes);
  std::mt19937_64 random(seed);
  for (size_t i = 0; i < n_blocks; ++i) {
    const double number = std::normal_distribution<double>()(random);
    const uint64_t bits = format.type == gguf::TensorType::F64 ? std::bit_cast<uint64_t>(number) : random();
    std::memcpy(&bytes[i * format.layout->block_bytes], &bits, format.layout->block_bytes);
  }
  return bytes;
}

// An offset from an aligned address that matrices of the format may have.
size_t odd_offset(const Format& format) {
  return format.layout->block_values == 1 ? format.layout->block_bytes : 2;
}

void check_close(float made, const Product& expected) {
  CHECK(std::abs(made - expected.value) <= 1e-6 * expected.magnitude + 1.2e-7 * std::abs(expected.value));
}

}  // namespace

TEST_CASE("every format that the CPU multiplies is multiplied, and no other") {
  for (const Format& format : all_formats())
    CHECK_MESSAGE(cuda::can_multiply(format.type) == (format.activation != ActivationFormat::None),
                  format.layout->name);
}

TEST_CASE("products are those of the reference, in all formats, for odd numbers of rows and any number of columns") {
  for (const Format& format : all_formats()) {
    if (format.activation == ActivationFormat::None) continue;
    CAPTURE(format.layout->name);
    uint32_t seed = 1;
    for (const int64_t n_columns : columns_of(format)) {
      CAPTURE(n_columns);
      const int64_t n_rows = std::array<int64_t, 4>{1, 3, 33, 7}[seed % 4], n_inputs = seed % 3 == 0 ? 5 : 1;
      cuda::Matrix matrix = matrix_of(format, nullptr, n_rows, n_columns);
      const std::vector<std::byte> blocks = random_blocks(format, blocks_in(matrix), seed);
      const OnDevice<std::byte> weights(blocks, seed % 2 == 0 ? 0 : odd_offset(format));
      matrix.data = weights.data();
      const std::vector<float> bias = random_floats(static_cast<size_t>(n_rows), seed);
      const OnDevice<float> bias_on(bias);
      if (seed % 2 == 0) matrix.bias = bias_on.data();
      const Inputs inputs(random_floats(static_cast<size_t>(n_inputs * n_columns), seed + 100), n_columns);

      cuda::MatrixProducts products;
      products.matrix = matrix;
      products.input = inputs.activations();
      products.n_inputs_each = n_inputs;
      const OnDevice<float> output(static_cast<size_t>(n_inputs * n_rows));
      products.output = output.data();
      products.output_stride = n_rows;
      cuda::Launches list;
      cuda::multiply(list, products);
      run(list);

      const auto rows = dequantised_rows(format.type, blocks.data(), n_rows, n_columns);
      const std::vector<float> made = output.values();
      for (int64_t i = 0; i < n_inputs; ++i)
        for (int64_t r = 0; r < n_rows; ++r) {
          Product expected = reference_product(format.type, rows[static_cast<size_t>(r)], inputs.row(i));
          if (matrix.bias != nullptr) {
            expected.value += bias[static_cast<size_t>(r)];
            expected.magnitude += std::abs(bias[static_cast<size_t>(r)]);
          }
          check_close(made[static_cast<size_t>(i * n_rows + r)], expected);
        }
      ++seed;
    }
  }
}

TEST_CASE("the same row and input give the same bits in every company") {
  for (const gguf::TensorType type :
       {gguf::TensorType::Q4_K, gguf::TensorType::IQ1_S, gguf::TensorType::Q8_0, gguf::TensorType::F16}) {
    const Format& format = format_of(type);
    const int64_t n_columns = 1536, n_rows = 45;
    cuda::Matrix matrix = matrix_of(format, nullptr, n_rows, n_columns);
    const OnDevice<std::byte> weights(random_blocks(format, blocks_in(matrix), 5));
    const Inputs inputs(random_floats(static_cast<size_t>(6 * n_columns), 9), n_columns);
    const OnDevice<float> all(static_cast<size_t>(6 * n_rows)), alone(1);
    cuda::MatrixProducts products;
    products.matrix = matrix;
    products.matrix.data = weights.data();
    products.input = inputs.activations();
    products.n_inputs_each = 6;
    products.output = all.data();
    products.output_stride = n_rows;
    cuda::Launches list;
    cuda::multiply(list, products);
    run(list);
    for (const int64_t row : {0, 17, 44})
      for (const int64_t input : {0, 5}) {
        products.matrix.data = weights.data() + row * static_cast<int64_t>(matrix.row_bytes);
        products.matrix.n_outputs = 1;
        products.n_inputs_each = 1;
        products.input_matrix_step = 0;
        products.input = inputs.activations();
        products.input.values += input * n_columns;
        if (type != gguf::TensorType::Q8_0 && type != gguf::TensorType::F16) {
          products.input.per256.codes += input * n_columns;
          products.input.per256.scales += input * (n_columns / 256);
          products.input.per256.sums += input * (n_columns / 16);
        } else if (type == gguf::TensorType::Q8_0) {
          products.input.per32.codes += input * n_columns;
          products.input.per32.scales += input * (n_columns / 32);
          products.input.per32.sums += input * (n_columns / 32);
        }
        products.output = alone.data();
        list.clear();
        cuda::multiply(list, products);
        run(list);
        CHECK(alone.values()[0] == all.values()[static_cast<size_t>(input * n_rows + row)]);
      }
  }
}

TEST_CASE("a batch multiplies each matrix with its own inputs") {
  const Format& format = format_of(gguf::TensorType::Q8_0);
  const int64_t n_matrices = 5, n_each = 2, n_rows = 9, n_columns = 64;
  cuda::Matrix matrix = matrix_of(format, nullptr, n_rows, n_columns);
  const int64_t matrix_bytes = n_rows * static_cast<int64_t>(matrix.row_bytes), stride = matrix_bytes + 6;
  const std::vector<std::byte> blocks = random_blocks(format, static_cast<size_t>(n_matrices) * blocks_in(matrix), 3);
  std::vector<std::byte> apart(static_cast<size_t>((n_matrices - 1) * stride + matrix_bytes));
  for (int64_t m = 0; m < n_matrices; ++m)
    std::copy_n(blocks.begin() + m * matrix_bytes, matrix_bytes, apart.begin() + m * stride);
  const OnDevice<std::byte> weights(apart, 2);
  const Inputs inputs(random_floats(static_cast<size_t>(n_matrices * n_each * n_columns), 8), n_columns);
  const OnDevice<float> output(static_cast<size_t>(n_each * n_matrices * n_rows));
  matrix.data = weights.data();
  const cuda::MatrixProducts products = products_side_by_side(matrix, n_matrices, stride, inputs, n_each, output);
  cuda::Launches list;
  cuda::multiply(list, products);
  run(list);
  const std::vector<float> made = output.values();
  for (int64_t m = 0; m < n_matrices; ++m) {
    const auto rows = dequantised_rows(format.type, blocks.data() + m * matrix_bytes, n_rows, n_columns);
    for (int64_t i = 0; i < n_each; ++i)
      for (int64_t r = 0; r < n_rows; ++r)
        check_close(made[static_cast<size_t>((i * n_matrices + m) * n_rows + r)],
                    reference_product(format.type, rows[static_cast<size_t>(r)], inputs.row(i * n_matrices + m)));
  }
}

TEST_CASE("embeddings are dequantised exactly, in all formats") {
  for (const Format& format : all_formats()) {
    CAPTURE(format.layout->name);
    const int64_t block = format.layout->block_values, n_rows = 5, n_columns = block == 1 ? 43 : 3 * block;
    cuda::Matrix table = matrix_of(format, nullptr, n_rows, n_columns);
    const std::vector<std::byte> blocks = blocks_of(format, blocks_in(table), 11);
    const OnDevice<std::byte> table_on(blocks, format.layout->block_values == 1 ? format.layout->block_bytes : 2);
    table.data = table_on.data();
    const std::vector<int32_t> ids = {4, 0, 3, 3, 5, -1, 1};  // 5 and -1 are not there: zeros
    const OnDevice<int32_t> ids_on(ids);
    const int64_t stride = n_columns + 3;
    const OnDevice<float> output(ids.size() * static_cast<size_t>(stride) - 3);
    cuda::Launches list;
    cuda::embed(list, {table, ids_on.data(), static_cast<int64_t>(ids.size()), output.data(), stride});
    run(list);
    auto rows = dequantised_rows(format.type, blocks.data(), n_rows, n_columns);
    rows.emplace_back(static_cast<size_t>(n_columns));
    const std::vector<float> made = output.values();
    for (size_t i = 0; i < ids.size(); ++i) {
      const std::vector<float> own(made.begin() + static_cast<int64_t>(i) * stride,
                                   made.begin() + static_cast<int64_t>(i) * stride + n_columns);
      CHECK(same_bits(own, rows[ids[i] >= 0 ? static_cast<size_t>(ids[i]) : 5]));
    }
  }
}

TEST_CASE("products across rows are those of the reference, in all formats") {
  for (const Format& format : all_formats()) {
    CAPTURE(format.layout->name);
    const int64_t block = format.layout->block_values, n_matrices = 2, n_rows = 19, n_each = 3;
    const int64_t n_columns = block == 1 ? 261 : block * 2;
    cuda::Matrix matrix = matrix_of(format, nullptr, n_rows, n_columns);
    const std::vector<std::byte> blocks = blocks_of(format, n_matrices * blocks_in(matrix), 12);
    const OnDevice<std::byte> weights(blocks, format.layout->block_values == 1 ? format.layout->block_bytes : 2);
    const std::vector<float> x = random_floats(static_cast<size_t>(n_matrices * n_each * n_rows), 13);
    const OnDevice<float> x_on(x), output(static_cast<size_t>(n_matrices * n_each * n_columns));
    cuda::TransposedProducts products;
    products.matrix = matrix;
    products.matrix.data = weights.data();
    products.n_matrices = n_matrices;
    products.matrix_stride = n_rows * static_cast<int64_t>(matrix.row_bytes);
    products.input = x_on.data();
    products.n_inputs_each = n_each;
    products.input_matrix_stride = n_each * n_rows;
    products.input_stride = n_rows;
    products.output = output.data();
    products.output_matrix_stride = n_each * n_columns;
    products.output_stride = n_columns;
    cuda::Launches list;
    cuda::multiply_transposed(list, products);
    run(list);
    const std::vector<float> made = output.values();
    for (int64_t m = 0; m < n_matrices; ++m) {
      const auto rows = dequantised_rows(format.type, blocks.data() + m * products.matrix_stride, n_rows, n_columns);
      for (int64_t i = 0; i < n_each; ++i)
        for (int64_t c = 0; c < n_columns; ++c) {
          Product expected;
          for (int64_t r = 0; r < n_rows; ++r) {
            const double term = double{x[static_cast<size_t>((m * n_each + i) * n_rows + r)]} *
                                rows[static_cast<size_t>(r)][static_cast<size_t>(c)];
            expected.value += term;
            expected.magnitude += std::abs(term);
          }
          check_close(made[static_cast<size_t>((m * n_each + i) * n_columns + c)], expected);
        }
    }
  }
}

TEST_CASE("products that make no sense are refused with a sentence") {
  const Format& format = format_of(gguf::TensorType::Q4_K);
  const OnDevice<std::byte> weights(4 * 144);
  const Inputs inputs(random_floats(512, 1), 512);
  const OnDevice<float> output(4);
  cuda::MatrixProducts sound;
  sound.matrix = matrix_of(format, weights.data(), 2, 512);
  sound.input = inputs.activations();
  sound.output = output.data();
  cuda::Launches list;
  const auto refused = [&](auto change, const char* words) {
    cuda::MatrixProducts broken = sound;
    change(broken);
    check_refused([&] { cuda::multiply(list, broken); }, words);
  };
  refused([](auto& p) { p.matrix.n_outputs = 0; }, "0 rows");
  refused([](auto& p) { p.matrix.n_inputs = 300; }, "multiple of its block of 256");
  refused([](auto& p) { p.matrix.row_bytes = 287; }, "and not of 287");
  refused([](auto& p) { p.matrix.data += 1; }, "multiple of 2 bytes");
  refused([](auto& p) { p.matrix.data = nullptr; }, "multiple of 2 bytes");
  refused([](auto& p) { p.matrix.n_outputs = int64_t{1} << 40; }, "1073741823");
  refused(
      [](auto& p) {
        p.matrix.type = gguf::TensorType::F64;
        p.matrix.row_bytes = 4096;
      },
      "cannot be multiplied");
  refused([](auto& p) { p.matrix.type = static_cast<gguf::TensorType>(77); }, "number 77");
  refused([](auto& p) { p.input.n_columns = 256; }, "inputs of 256");
  refused([](auto& p) { p.input.per256.codes = nullptr; }, "make the forms first");
  refused([](auto& p) { p.n_inputs_each = 2; }, "input row 1 of 1");
  refused(
      [](auto& p) {
        p.n_inputs_each = 2;
        p.input_row_step = -1;
      },
      "input row -1");
  refused([](auto& p) { p.output = nullptr; }, "no place for its output");
  CHECK(list.empty());
}
