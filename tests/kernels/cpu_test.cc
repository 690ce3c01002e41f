// What runs on the CPU against the reference: loops, products, attention, rotation.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/cpu/dequantize.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/multiply.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/vector_loops.h"
#include "kernels/reference/dequantize.h"
#include "kernels/reference/multiply.h"
#include "tests/kernels/random_blocks.h"

using namespace sluice;
using kernels::ActivationFormat;
using kernels::ThreadPool;
using test::random_blocks;

namespace {

std::vector<float> random_values(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(n);
  for (float& v : values) v = static_cast<float>(random() % 20001) / 10000.0f - 1.0f;
  return values;
}

double largest_relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, largest = 1e-30;
  for (size_t i = 0; i < b.size(); ++i) {
    difference = std::max(difference, std::abs(double{a[i]} - double{b[i]}));
    largest = std::max(largest, std::abs(double{b[i]}));
  }
  return difference / largest;
}

}  // namespace

TEST_CASE("the vector loops give the same bits for every instruction set, whatever the length") {
  const kernels::VectorLoops base = kernels::vector_loops_at(kernels::Isa::Reference);
  for (const auto isa : {kernels::Isa::Avx2, kernels::Isa::Avx512, kernels::Isa::Avx512Vnni}) {
    CAPTURE(kernels::isa_name(isa));
    if (!kernels::machine_has(isa)) {
      MESSAGE("skipped: this machine does not have " << std::string(kernels::isa_name(isa)));
      continue;
    }
    const kernels::VectorLoops fast = kernels::vector_loops_at(isa);
    for (int64_t n = 0; n < 140; ++n) {
      const auto size = static_cast<size_t>(n);
      const auto a = random_values(size, 1), b = random_values(size, 2);
      // Room at the end that must stay as it is.
      std::vector<uint16_t> half_base(size + 1, 5), half_fast(half_base);
      base.float_to_half(a.data(), half_base.data(), n);
      fast.float_to_half(a.data(), half_fast.data(), n);
      CHECK(half_base == half_fast);
      std::vector<float> wide_base(size + 1, 5), wide_fast(wide_base);
      base.half_to_float(half_base.data(), wide_base.data(), n);
      fast.half_to_float(half_base.data(), wide_fast.data(), n);
      CHECK(wide_base == wide_fast);
      CHECK(base.dot(a.data(), b.data(), n) == fast.dot(a.data(), b.data(), n));
      CHECK(base.dot_half(half_base.data(), b.data(), n) == fast.dot_half(half_base.data(), b.data(), n));
      CHECK(base.dot_half(half_base.data(), b.data(), n) == base.dot(wide_base.data(), b.data(), n));
      auto sum_base = b;
      sum_base.push_back(5);
      auto sum_fast = sum_base;
      base.add_scaled(0.3f, a.data(), sum_base.data(), n);
      fast.add_scaled(0.3f, a.data(), sum_fast.data(), n);
      CHECK(sum_base == sum_fast);
      base.add_scaled_half(-0.7f, half_base.data(), sum_base.data(), n);
      fast.add_scaled_half(-0.7f, half_base.data(), sum_fast.data(), n);
      CHECK(sum_base == sum_fast);
    }
  }
}

TEST_CASE("products agree with the reference for every type, gathered rows and odd row counts") {
  ThreadPool pool(2);
  for (const kernels::Format& format : kernels::all_formats()) {
    if (format.activation == ActivationFormat::None) continue;
    CAPTURE(std::string(format.layout->name));
    const int64_t block = std::max<int64_t>(32, format.layout->block_values);
    for (const int64_t n_columns : {block, 3 * block, 2048 + block}) {
      for (const int64_t n_rows : {1, 3, 37}) {
        const auto n_blocks = static_cast<size_t>(n_rows * n_columns / format.layout->block_values);
        const auto bytes = random_blocks(format, n_blocks, static_cast<uint32_t>(n_rows));
        const uint64_t row_bytes = bytes.size() / static_cast<size_t>(n_rows);
        const int64_t n_inputs = 5;
        const auto x = random_values(static_cast<size_t>(n_inputs * n_columns), 3);
        const int32_t gather[] = {4, 0, 2};
        for (const bool eight_bit : {false, true}) {
          const kernels::Activations input(x.data(), n_inputs, n_columns, n_columns, eight_bit);
          std::vector<float> out(static_cast<size_t>(3 * n_rows));
          const kernels::MatrixProduct product{
              {format.type, bytes.data(), n_rows, n_columns, row_bytes}, &input, gather, 3, out.data(), n_rows};
          REQUIRE(kernels::multiply(pool, std::span(&product, 1)));

          std::vector<float> expected(static_cast<size_t>(n_inputs * n_rows));
          const auto n = static_cast<size_t>(n_inputs * n_columns);
          if (eight_bit && format.activation == ActivationFormat::Per32) {
            std::vector<kernels::reference::Activation32> blocks(n / 32);
            REQUIRE(kernels::reference::quantize_per32(x.data(), static_cast<int64_t>(n), blocks.data()));
            kernels::reference::multiply(format.type, bytes.data(), n_rows, n_columns, blocks.data(), n_inputs,
                                         expected.data());
          } else if (eight_bit && format.activation == ActivationFormat::Per256) {
            std::vector<kernels::reference::Activation256> blocks(n / 256);
            REQUIRE(kernels::reference::quantize_per256(x.data(), static_cast<int64_t>(n), blocks.data()));
            kernels::reference::multiply(format.type, bytes.data(), n_rows, n_columns, blocks.data(), n_inputs,
                                         expected.data());
          } else {
            kernels::reference::multiply(format.type, bytes.data(), n_rows, n_columns, x.data(), n_inputs,
                                         expected.data());
          }
          std::vector<float> gathered;
          for (const int32_t row : gather)
            gathered.insert(gathered.end(), expected.begin() + row * n_rows, expected.begin() + (row + 1) * n_rows);
          CHECK(largest_relative_difference(out, gathered) < 3e-6);
        }
      }
    }
  }
}

TEST_CASE("transposed products agree with the reference for every type, whatever the rows, columns and inputs") {
  for (const kernels::Format& format : kernels::all_formats()) {
    if (format.activation == ActivationFormat::None) continue;
    CAPTURE(std::string(format.layout->name));
    const int64_t block = format.layout->block_values;
    for (const int64_t n_columns :
         {block == 1 ? 13 : block, 2 * std::max<int64_t>(32, block), 256 + std::max<int64_t>(block, 32)})
      for (const int64_t n_rows : {1, 19, 70}) {
        const int64_t n_inputs = 7;
        const auto bytes = random_blocks(format, static_cast<size_t>(n_rows * n_columns / block), 4);
        const auto x = random_values(static_cast<size_t>(n_inputs * n_rows), 5);
        std::vector<float> expected(static_cast<size_t>(n_inputs * n_columns)), first;
        for (int64_t i = 0; i < n_inputs; ++i)
          kernels::reference::multiply_transposed(format.type, bytes.data(), n_rows, n_columns, x.data() + i * n_rows,
                                                  expected.data() + i * n_columns);
        for (const uint32_t n_threads : {1u, 3u})
          for (const int64_t n_together : {int64_t{1}, int64_t{2}, n_inputs}) {
            ThreadPool pool(n_threads);
            std::vector<float> out(expected.size());
            const uint64_t row_bytes = bytes.size() / static_cast<size_t>(n_rows);
            for (int64_t i = 0; i < n_inputs; i += n_together) {
              const kernels::TransposedMatrixProduct product{{format.type, bytes.data(), n_rows, n_columns, row_bytes},
                                                             x.data() + i * n_rows,
                                                             n_rows,
                                                             std::min(n_together, n_inputs - i),
                                                             out.data() + i * n_columns,
                                                             n_columns};
              kernels::multiply_transposed(pool, std::span(&product, 1));
            }
            CHECK(largest_relative_difference(out, expected) < 3e-6);
            if (first.empty()) first = out;
            CHECK(out == first);
          }
      }
  }
}

TEST_CASE("fast dequantising gives the reference's bits for every type") {
  for (const kernels::Format& format : kernels::all_formats()) {
    if (format.activation == ActivationFormat::None) continue;
    CAPTURE(std::string(format.layout->name));
    const auto bytes = random_blocks(format, 37, 6);
    const int64_t n_values = 37 * static_cast<int64_t>(format.layout->block_values);
    std::vector<float> values(static_cast<size_t>(n_values) + 1, 7), expected(values);
    format.dequantize(bytes.data(), n_values, expected.data());
    kernels::fast_dequantize(format.type)(bytes.data(), n_values, values.data());
    CHECK(std::memcmp(values.data(), expected.data(), values.size() * sizeof(float)) == 0);
  }
}

TEST_CASE("activations that are not finite are refused where they must be rounded") {
  ThreadPool pool(2);
  std::vector<float> x(512, 1.0f);
  x[300] = INFINITY;
  for (const ActivationFormat format : {ActivationFormat::Per32, ActivationFormat::Per256}) {
    CHECK_FALSE(kernels::Activations(x.data(), 1, 512, 512, true).prepare_blocks(pool, format));
    CHECK(kernels::Activations(x.data(), 1, 256, 256, true).prepare_blocks(pool, format));
    CHECK(kernels::Activations(x.data(), 1, 512, 512, false).prepare_blocks(pool, format));
  }
}

TEST_CASE("rotation from a table of angles equals the reference for both pairings") {
  ThreadPool pool(2);
  for (const auto pairs : {kernels::reference::RopePairs::Interleaved, kernels::reference::RopePairs::Halves}) {
    kernels::reference::Rope rope;
    rope.pairs = pairs;
    rope.n_dims = 10;
    const int64_t n_rows = 3, n_heads = 2, head = 12;
    const int32_t positions[] = {0, 5, 100000};
    auto x = random_values(static_cast<size_t>(n_rows * n_heads * head), 9);
    auto expected = x;
    std::vector<float> cosines(15), sines(15);
    const kernels::FloatRows cosine_rows{cosines.data(), n_rows, 5, 5}, sine_rows{sines.data(), n_rows, 5, 5};
    kernels::rope_angles(pool, rope, positions, cosine_rows, sine_rows);
    kernels::rope(pool, {x.data(), n_rows, n_heads * head, n_heads * head}, n_heads, head, pairs, cosine_rows,
                  sine_rows);
    kernels::reference::apply_rope(rope, positions, n_rows, n_heads * head, n_heads, head, expected.data());
    CHECK(x == expected);
  }
}
