// Products with many inputs, by tiles on tensor cores, in every format that is quantised, in shapes that are odd. Those of floats are
// tested in float_tiles_test.cc.
#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/cuda/gemm_formats.h"
#include "kernels/cuda/gemm_products.h"
#include "kernels/cuda/gemm_shape.h"
#include "kernels/cuda/multiply.h"
#include "kernels/format.h"
#include "tests/cuda/device.h"
#include "tests/cuda/inputs.h"
#include "tests/kernels/random_blocks.h"

using namespace sluice;
using namespace sluice::kernels;
using namespace sluice::test;

namespace {

// What the kernels were compiled for.
int code_architecture() {
  cudaFuncAttributes attributes{};
  REQUIRE(cudaFuncGetAttributes(&attributes, cuda::find_gemm_format(gguf::TensorType::F16)->kernel) == cudaSuccess);
  return attributes.ptxVersion;
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

struct Shape {
  int64_t n_outputs, n_columns, n_inputs;
  size_t offset;  // of the matrix from an aligned address
};

// One launch, by tiles of so many warps (0: as multiply() chooses), held to the reference.
void check_tiles(const Format& format, const Shape& shape, uint32_t seed, int n_warps = 0) {
  CAPTURE(format.layout->name);
  CAPTURE(shape.n_outputs);
  CAPTURE(shape.n_columns);
  CAPTURE(shape.n_inputs);
  cuda::Matrix matrix = matrix_of(format, nullptr, shape.n_outputs, shape.n_columns);
  const std::vector<std::byte> blocks =
      random_blocks(format, static_cast<size_t>(shape.n_outputs * shape.n_columns / format.layout->block_values), seed);
  const OnDevice<std::byte> weights(blocks, shape.offset);
  matrix.data = weights.data();
  const std::vector<float> bias = random_floats(static_cast<size_t>(shape.n_outputs), seed);
  const OnDevice<float> bias_on(bias);
  if (seed % 2 == 0) matrix.bias = bias_on.data();
  const Inputs inputs(random_floats(static_cast<size_t>(shape.n_inputs * shape.n_columns), seed + 100),
                      shape.n_columns);
  cuda::MatrixProducts products;
  products.matrix = matrix;
  products.input = inputs.activations();
  products.n_inputs_each = shape.n_inputs;
  const OnDevice<float> output(static_cast<size_t>(shape.n_inputs * shape.n_outputs));
  products.output = output.data();
  products.output_stride = shape.n_outputs;
  cuda::Launches list;
  if (n_warps == 0)
    cuda::multiply(list, products);
  else
    cuda::append_tiles(list, products, n_warps);
  REQUIRE(list.size() == 1);
  CHECK(std::string(list[0].name) == "multiply tiles " + std::string(format.layout->name));
  run(list);

  const auto rows = dequantised_rows(format.type, blocks.data(), shape.n_outputs, shape.n_columns);
  const std::vector<float> made = output.values();
  int64_t n_wrong = 0;
  for (int64_t i = 0; i < shape.n_inputs; ++i) {
    const std::vector<Product> expected = reference_products(format.type, rows, inputs.row(i));
    for (int64_t r = 0; r < shape.n_outputs; ++r) {
      const float own_bias = matrix.bias != nullptr ? bias[static_cast<size_t>(r)] : 0;
      const Product& product = expected[static_cast<size_t>(r)];
      const double value = product.value + own_bias, magnitude = product.magnitude + std::abs(own_bias);
      const float got = made[static_cast<size_t>(i * shape.n_outputs + r)];
      if (!(std::abs(got - value) <= 1e-6 * magnitude + 1.2e-7 * std::abs(value)) && n_wrong++ == 0)
        FAIL_CHECK("output " << r << " of input " << i << " is " << got << " and not " << value);
    }
  }
  CHECK(n_wrong == 0);
}

}  // namespace

TEST_CASE("every format that is multiplied has tiles, but for those of bfloat16 pieces before sm_80") {
  for (const Format& format : all_formats()) {
    const bool needs_bf16 = format.type == gguf::TensorType::F32 || format.type == gguf::TensorType::BF16;
    CHECK_MESSAGE(cuda::is_multiplied_by_tiles(format.type, cuda::kGemmInputs) ==
                      (format.activation != ActivationFormat::None && (!needs_bf16 || code_architecture() >= 80)),
                  format.layout->name);
  }
  CHECK_FALSE(cuda::is_multiplied_by_tiles(gguf::TensorType::Q4_K, cuda::kGemmInputs - 1));
}

TEST_CASE("tiles are the products of the reference in all formats of codes and for any number of rows and inputs") {
  uint32_t seed = 1;
  for (const Format& format : all_formats()) {
    const int64_t block = format.layout->block_values;
    if (!cuda::is_multiplied_by_tiles(format.type, cuda::kGemmInputs) || block == 1) continue;  // float_tiles_test.cc
    // A tile that is not full; more than one; columns that are no multiple of a step where the format allows it.
    const Shape shapes[] = {{37,
                             block == 256  ? 768
                             : block == 32 ? 416
                                           : 2 * block,
                             19, seed % 3 == 0 ? 0u : 2u},
                            {65, block, 33, format.layout->block_bytes % 16 == 0 ? 0u : 2u}};
    for (const Shape& shape : shapes) check_tiles(format, shape, seed++);
  }
}

TEST_CASE("tiles of several warps are the same products") {
  using gguf::TensorType;
  check_tiles(format_of(TensorType::Q4_K), {70, 768, 243, 0}, 1, 8);
  check_tiles(format_of(TensorType::IQ1_S), {33, 512, 100, 2}, 2, 4);
  check_tiles(format_of(TensorType::Q8_0), {64, 448, 65, 2}, 3, 4);
  check_tiles(format_of(TensorType::Q6_K), {5, 1024, 40, 2}, 4, 2);
}

TEST_CASE("an output of a tile has the same bits in every company") {
  for (const gguf::TensorType type : {gguf::TensorType::Q4_K, gguf::TensorType::Q5_1}) {
    const Format& format = format_of(type);
    const int64_t n_columns = 512, n_rows = 70, n_inputs = 45, n_few = 13;
    cuda::Matrix matrix = matrix_of(format, nullptr, n_rows, n_columns);
    const OnDevice<std::byte> weights(
        random_blocks(format, static_cast<size_t>(n_rows * n_columns / format.layout->block_values), 5));
    const Inputs inputs(random_floats(static_cast<size_t>(n_inputs * n_columns), 9), n_columns);
    const OnDevice<float> all(static_cast<size_t>(n_inputs * n_rows)), few(n_few);
    cuda::MatrixProducts products;
    products.matrix = matrix;
    products.matrix.data = weights.data();
    products.input = inputs.activations();
    products.n_inputs_each = n_inputs;
    products.output = all.data();
    products.output_stride = n_rows;
    cuda::Launches list;
    cuda::append_tiles(list, products, 2);
    // Row 69 alone, and every third input.
    products.matrix.data += 69 * matrix.row_bytes;
    products.matrix.n_outputs = 1;
    products.input_row_step = 3;
    products.n_inputs_each = n_few;
    products.output = few.data();
    products.output_stride = 1;
    cuda::multiply(list, products);
    run(list);
    const std::vector<float> all_values = all.values(), few_values = few.values();
    for (size_t i = 0; i < few_values.size(); ++i)
      CHECK(few_values[i] == all_values[i * 3 * static_cast<size_t>(n_rows) + 69]);
  }
}

TEST_CASE("a batch multiplies each matrix with its own inputs by tiles") {
  const Format& format = format_of(gguf::TensorType::Q8_0);
  const int64_t n_matrices = 3, n_each = 17, n_rows = 9, n_columns = 96;
  cuda::Matrix matrix = matrix_of(format, nullptr, n_rows, n_columns);
  const int64_t matrix_bytes = n_rows * static_cast<int64_t>(matrix.row_bytes), stride = matrix_bytes + 6;
  const std::vector<std::byte> blocks =
      random_blocks(format, static_cast<size_t>(n_matrices * n_rows * n_columns / 32), 3);
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
  REQUIRE(list.at(0).name == std::string("multiply tiles Q8_0"));
  run(list);
  const std::vector<float> made = output.values();
  for (int64_t m = 0; m < n_matrices; ++m) {
    const auto rows = dequantised_rows(format.type, blocks.data() + m * matrix_bytes, n_rows, n_columns);
    for (int64_t i = 0; i < n_each; ++i) {
      const std::vector<Product> expected = reference_products(format.type, rows, inputs.row(i * n_matrices + m));
      for (int64_t r = 0; r < n_rows; ++r)
        CHECK(std::abs(made[static_cast<size_t>((i * n_matrices + m) * n_rows + r)] -
                       expected[static_cast<size_t>(r)].value) <= 1e-6 * expected[static_cast<size_t>(r)].magnitude);
    }
  }
}

TEST_CASE("tiles fill the GPU, the inputs and the shared memory that there is") {
  cuda::GemmWork work;
  work.block_values = 256;
  work.block_bytes = 144;
  work.most_shared_bytes = 96 * 1024;
  struct Case {
    int64_t n_outputs, n_inputs;
    int n_warps;
  };
  for (const Case& c : {Case{14336, 512, 8}, Case{2048, 512, 4}, Case{2048, 4096, 8}, Case{14336, 20, 1},
                        Case{14336, 129, 8}, Case{14336, 128, 4}, Case{64, 64, 1}}) {
    work.n_outputs = c.n_outputs;
    work.n_inputs = c.n_inputs;
    CHECK(cuda::gemm_shape(work).n_warps == c.n_warps);
  }
  work.n_outputs = 14336;
  work.n_inputs = 512;
  work.block_bytes = 210;
  work.most_shared_bytes = 62 * 1024;
  const cuda::GemmShape small = cuda::gemm_shape(work);
  CHECK(small.n_warps == 4);
  CHECK(small.shared_bytes <= work.most_shared_bytes);
}
