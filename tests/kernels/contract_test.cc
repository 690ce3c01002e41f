// The numeric contract of products with 8-bit activations: every way to multiply gives the same bits, close to the
// reference, for all types, shapes and extreme values.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/cpu/multiply.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/reference/dequantize.h"
#include "kernels/reference/multiply.h"
#include "tests/kernels/random_blocks.h"

using namespace sluice;
using kernels::ActivationFormat;
using kernels::ThreadPool;

namespace {

enum class Values { Ordinary, Zeros, Denormal, Saturated, OneLarge };

std::vector<float> activations(Values kind, int64_t n_rows, int64_t n_columns) {
  std::mt19937 random(11);
  std::vector<float> x(static_cast<size_t>(n_rows * n_columns));
  for (size_t i = 0; i < x.size(); ++i) {
    const float ordinary = static_cast<float>(random() % 20001) / 10000.0f - 1.0f;
    switch (kind) {
      case Values::Ordinary:
        x[i] = ordinary;
        break;
      case Values::Zeros:
        x[i] = 0;
        break;
      case Values::Denormal:
        x[i] = ordinary * 1e-40f;
        break;
      case Values::Saturated:  // every code is 127 or -127: the largest sums there can be
        x[i] = random() % 8 == 0 ? -3.0f : 3.0f;
        break;
      case Values::OneLarge:
        x[i] = i % 100 == 0 ? 1e30f : ordinary;
        break;
    }
  }
  return x;
}

struct Weights {
  const kernels::Format* format;
  int64_t n_rows, n_columns;
  std::vector<std::byte> bytes;

  kernels::Matrix matrix() const {
    return {format->type, bytes.data(), n_rows, n_columns, bytes.size() / static_cast<size_t>(n_rows)};
  }
};

Weights random_weights(const kernels::Format& format, int64_t n_rows, int64_t n_columns, uint32_t seed) {
  const auto n_blocks = static_cast<size_t>(n_rows * n_columns / format.layout->block_values);
  return {&format, n_rows, n_columns, test::random_blocks(format, n_blocks, seed)};
}

// [n_inputs, n_rows]
std::vector<float> multiply(ThreadPool& pool, const Weights& weights, const std::vector<float>& x, int64_t first,
                            int64_t n_inputs) {
  const kernels::Activations input(x.data() + first * weights.n_columns, n_inputs, weights.n_columns, weights.n_columns,
                                   true);
  std::vector<float> out(static_cast<size_t>(n_inputs * weights.n_rows));
  const kernels::MatrixProduct product{weights.matrix(), &input, nullptr, n_inputs, out.data(), weights.n_rows};
  REQUIRE(kernels::multiply(pool, std::span(&product, 1)));
  return out;
}

std::vector<float> reference_product(const Weights& weights, const std::vector<float>& x, int64_t n_inputs) {
  const kernels::Format& format = *weights.format;
  std::vector<float> out(static_cast<size_t>(n_inputs * weights.n_rows));
  const auto n = static_cast<int64_t>(x.size());
  if (format.activation == ActivationFormat::Per32) {
    std::vector<kernels::reference::Activation32> blocks(static_cast<size_t>(n / 32));
    REQUIRE(kernels::reference::quantize_per32(x.data(), n, blocks.data()));
    kernels::reference::multiply(format.type, weights.bytes.data(), weights.n_rows, weights.n_columns, blocks.data(),
                                 n_inputs, out.data());
  } else if (format.activation == ActivationFormat::Per256) {
    std::vector<kernels::reference::Activation256> blocks(static_cast<size_t>(n / 256));
    REQUIRE(kernels::reference::quantize_per256(x.data(), n, blocks.data()));
    kernels::reference::multiply(format.type, weights.bytes.data(), weights.n_rows, weights.n_columns, blocks.data(),
                                 n_inputs, out.data());
  } else {
    kernels::reference::multiply(format.type, weights.bytes.data(), weights.n_rows, weights.n_columns, x.data(),
                                 n_inputs, out.data());
  }
  return out;
}

// Sum of the magnitudes of a row's terms: what an error of rounding is measured against.
std::vector<double> magnitudes(const Weights& weights, const std::vector<float>& x, int64_t n_inputs) {
  std::vector<double> out;
  std::vector<float> row(static_cast<size_t>(weights.n_columns));
  for (int64_t i = 0; i < n_inputs; ++i)
    for (int64_t r = 0; r < weights.n_rows; ++r) {
      kernels::dequantize_row(weights.matrix(), r, row.data());
      double sum = 0;
      for (int64_t c = 0; c < weights.n_columns; ++c)
        sum += std::abs(double{row[static_cast<size_t>(c)]} * x[static_cast<size_t>(i * weights.n_columns + c)]);
      out.push_back(sum);
    }
  return out;
}

bool same_bits(const float* a, const float* b, size_t n) {
  return std::memcmp(a, b, n * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("a product has the same bits however many inputs, rows and threads take part, for every type") {
  ThreadPool one(1), three(3);
  for (const kernels::Format& format : kernels::all_formats()) {
    if (format.activation == ActivationFormat::None) continue;
    CAPTURE(std::string(format.layout->name));
    const int64_t block = std::max<int64_t>(32, format.layout->block_values);
    for (const int64_t n_columns : {block, 3 * block, 512 + 2 * block}) {
      for (const int64_t n_rows : {1, 8, 37}) {
        CAPTURE(n_columns);
        CAPTURE(n_rows);
        const int64_t n_inputs = 64;
        const Weights weights = random_weights(format, n_rows, n_columns, static_cast<uint32_t>(n_rows + n_columns));
        const auto x = activations(Values::Ordinary, n_inputs, n_columns);
        const auto all = multiply(one, weights, x, 0, n_inputs);
        CHECK(same_bits(all.data(), multiply(three, weights, x, 0, n_inputs).data(), all.size()));
        int64_t first = 0;
        for (const int64_t count : {1, 2, 3, 4, 5, 6, 7, 36}) {
          const auto some = multiply(three, weights, x, first, count);
          CHECK(same_bits(some.data(), all.data() + first * n_rows, some.size()));
          first += count;
        }
        // A part of the rows alone, from a row in the middle on.
        Weights tail = weights;
        tail.n_rows = (n_rows + 1) / 2;
        const auto row_bytes = weights.bytes.size() / static_cast<size_t>(n_rows);
        tail.bytes.erase(tail.bytes.begin(),
                         tail.bytes.begin() + static_cast<ptrdiff_t>(row_bytes) * (n_rows - tail.n_rows));
        const auto lower = multiply(one, tail, x, 0, 1);
        CHECK(same_bits(lower.data(), all.data() + n_rows - tail.n_rows, lower.size()));
      }
    }
  }
}

TEST_CASE("few and many inputs agree with the reference for every type and for extreme values") {
  ThreadPool pool(2);
  for (const kernels::Format& format : kernels::all_formats()) {
    if (format.activation == ActivationFormat::None) continue;
    CAPTURE(std::string(format.layout->name));
    const int64_t n_columns = 5 * std::max<int64_t>(256, format.layout->block_values), n_rows = 19;
    const Weights weights = random_weights(format, n_rows, n_columns, 5);
    for (const Values kind : {Values::Ordinary, Values::Zeros, Values::Denormal, Values::Saturated, Values::OneLarge})
      for (const int64_t n_inputs : {1, 6}) {
        CAPTURE(static_cast<int>(kind));
        CAPTURE(n_inputs);
        const auto x = activations(kind, n_inputs, n_columns);
        const auto out = multiply(pool, weights, x, 0, n_inputs);
        const auto expected = reference_product(weights, x, n_inputs);
        const auto size = magnitudes(weights, x, n_inputs);
        for (size_t i = 0; i < out.size(); ++i) {
          const double error = std::abs(double{out[i]} - double{expected[i]});
          // Subnormal products round to a fixed grain.
          CHECK(error <= 2e-6 * size[i] + 1e-40);
        }
      }
  }
}

TEST_CASE("the largest codes of a type with the largest codes of an input do not overflow") {
  ThreadPool pool(1);
  // Blocks of all ones and of all zeros are the extremes of most codes; random scales are put back afterwards.
  for (const kernels::Format& format : kernels::all_formats()) {
    if (format.activation == ActivationFormat::None) continue;
    CAPTURE(std::string(format.layout->name));
    const int64_t n_columns = std::max<int64_t>(256, format.layout->block_values), n_rows = 16;
    for (const auto fill : {std::byte{0xFF}, std::byte{0x00}, std::byte{0x7F}, std::byte{0x80}, std::byte{0xF0}}) {
      Weights weights = random_weights(format, n_rows, n_columns, 9);
      test::fill_codes(format, weights.bytes, fill);
      std::vector<float> row(static_cast<size_t>(n_columns));
      kernels::dequantize_row(weights.matrix(), 0, row.data());
      if (!std::ranges::all_of(row, [](float v) { return std::isfinite(v); })) continue;
      for (const int64_t n_inputs : {1, 4}) {
        const auto x = activations(Values::Saturated, n_inputs, n_columns);
        const auto out = multiply(pool, weights, x, 0, n_inputs);
        const auto expected = reference_product(weights, x, n_inputs);
        const auto size = magnitudes(weights, x, n_inputs);
        for (size_t i = 0; i < out.size(); ++i)
          CHECK(std::abs(double{out[i]} - double{expected[i]}) <= 2e-6 * size[i] + 1e-40);
      }
    }
  }
}

TEST_CASE("an infinite or absent number in the activations is refused by every way to multiply") {
  ThreadPool pool(2);
  for (const gguf::TensorType type : {gguf::TensorType::Q4_K, gguf::TensorType::Q8_0, gguf::TensorType::IQ1_S})
    for (const float bad : {INFINITY, -INFINITY, std::numeric_limits<float>::quiet_NaN()})
      for (const int64_t n_inputs : {1, 6}) {
        const Weights weights = random_weights(kernels::format_of(type), 16, 512, 3);
        auto x = activations(Values::Ordinary, n_inputs, 512);
        x[300] = bad;
        const kernels::Activations input(x.data(), n_inputs, 512, 512, true);
        std::vector<float> out(static_cast<size_t>(n_inputs * 16));
        const kernels::MatrixProduct product{weights.matrix(), &input, nullptr, n_inputs, out.data(), 16};
        CHECK_FALSE(kernels::multiply(pool, std::span(&product, 1)));
      }
}
