// All kernels at one level of instruction sets, as lines of text that are the same at every level.
//
//   emulated_kernels [LEVEL]
//
// "result NAME HASH" where levels must agree to the bit, "result NAME within bounds" where each is held to the reference.
// Built static and without threads, to run on the emulator with no system under it (tests/emulator/run.sh).

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/multiply.h"
#include "kernels/cpu/row_operations.h"
#include "kernels/cpu/vector_loops.h"
#include "kernels/reference/attention.h"
#include "kernels/reference/cache_rows.h"
#include "kernels/reference/multiply.h"
#include "tests/emulator/instruction_counts.h"
#include "tests/emulator/packed.h"
#include "tests/kernels/random_blocks.h"

using namespace sluice;
using namespace sluice::kernels;

namespace {

ThreadPool& pool() {
  static ThreadPool one(1);
  return one;
}

std::vector<float> random_values(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(n);
  for (float& v : values) v = static_cast<float>(random() % 20001) / 10000.0f - 1.0f;
  return values;
}

// FNV-1a.
class Hash {
 public:
  template <typename T>
  void add(const std::vector<T>& values) {
    for (const T& value : values) {
      unsigned char bytes[sizeof(T)];
      std::memcpy(bytes, &value, sizeof value);
      for (const unsigned char byte : bytes) state_ = (state_ ^ byte) * 1099511628211ull;
    }
  }
  void print(const std::string& name) const { std::printf("result %s %016llx\n", name.c_str(), state_); }

 private:
  unsigned long long state_ = 1469598103934665603ull;
};

void print_bound(const std::string& name, const std::vector<float>& out, const std::vector<float>& expected,
                 double bound) {
  double difference = 0, largest = 1e-30;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double d = std::abs(double{out[i]} - double{expected[i]});
    if (!(d <= difference)) difference = d;  // a NaN must not pass
    largest = std::max(largest, std::abs(double{expected[i]}));
  }
  if (difference <= bound * largest)
    std::printf("result %s within bounds\n", name.c_str());
  else
    std::printf("result %s WRONG by %g of the largest\n", name.c_str(), difference / largest);
}

void products() {
  for (const Format& format : all_formats()) {
    if (format.activation == ActivationFormat::None) continue;
    const std::string name(format.layout->name);
    const int64_t block = std::max<int64_t>(32, format.layout->block_values), n_rows = 19, n_columns = 256 + block;
    const auto bytes =
        test::random_blocks(format, static_cast<size_t>(n_rows * n_columns / format.layout->block_values), 5);
    const uint64_t row_bytes = bytes.size() / static_cast<size_t>(n_rows);
    const auto x = random_values(static_cast<size_t>(7 * n_columns), 3);
    const ResidentForm* form = resident_form(format.type);
    if (form != nullptr && form->group_product.at(chosen_isa()) == nullptr) form = nullptr;
    const test::AlignedBytes packed = form != nullptr ? test::pack(*form, bytes, n_rows, n_columns) : nullptr;
    Hash hash;
    for (const int64_t n_inputs : {1, 3, 7}) {
      const Activations input(x.data(), n_inputs, n_columns, n_columns, true);
      std::vector<float> out(static_cast<size_t>(n_inputs * n_rows));
      const MatrixProduct product{
          {format.type, bytes.data(), n_rows, n_columns, row_bytes}, &input, nullptr, n_inputs, out.data(), n_rows};
      if (!multiply(pool(), std::span(&product, 1))) std::printf("result %s WRONG: refused\n", name.c_str());
      hash.add(out);
      if (form != nullptr) {
        std::vector<float> of_form(out.size());
        const MatrixProduct resident{
            {format.type, packed.get(), n_rows, n_columns, 0, form}, &input, nullptr, n_inputs, of_form.data(), n_rows};
        multiply(pool(), std::span(&resident, 1));
        if (std::memcmp(of_form.data(), out.data(), out.size() * sizeof(float)) != 0)
          std::printf("result %s WRONG in its resident form\n", name.c_str());
      }
      if (format.activation != ActivationFormat::F32) continue;
      std::vector<float> expected(out.size());
      reference::multiply(format.type, bytes.data(), n_rows, n_columns, x.data(), n_inputs, expected.data());
      print_bound("product " + name, out, expected, 3e-6);
    }
    // Floats are added in an order of the level's own; so is what has no kernel for its codes.
    if (format.activation != ActivationFormat::F32 && format.type != gguf::TensorType::NVFP4)
      hash.print("product " + name);
  }
}

void exact_row_operations() {
  const RowOperations& operations = row_operations();
  Hash caches, quantised, turned, sums;
  for (const int64_t n : {1, 7, 15, 16, 31, 32, 33, 100, 576}) {
    const auto size = static_cast<size_t>(n);
    const auto x = random_values(size, static_cast<uint32_t>(n)), y = random_values(size, 2);
    for (const CacheType type : {CacheType::F32, CacheType::F16, CacheType::BF16, CacheType::Q8_0}) {
      std::vector<char> row(static_cast<size_t>(cache_row_bytes(type, n)));
      operations.store_cache_row(type, x.data(), n, row.data());
      std::vector<float> read(size);
      operations.load_cache_row(type, row.data(), n, read.data());
      caches.add(row);
      caches.add(read);
    }
    for (const bool interleaved : {false, true}) {
      auto head = random_values(2 * size, 4);
      operations.rope(head.data(), n, interleaved, x.data(), y.data());
      turned.add(head);
    }
    auto sum = y;
    operations.add(x.data(), sum.data(), n);
    sums.add(sum);
    const float* const rows[] = {x.data(), y.data(), sum.data()};
    const float weights[] = {0.3f, -0.7f, 2.1f};
    std::vector<float> out(size);
    operations.weighted_sum(rows, weights, 3, n, out.data());
    sums.add(out);
  }
  caches.print("cache rows");
  turned.print("rope");
  sums.print("add and weighted_sum");

  auto values = random_values(2048, 9);
  for (size_t i = 0; i < 256; ++i)
    values[i] = i % 256 == 0 ? 127 : static_cast<float>(static_cast<int>(i) - 128) + 0.5f;
  std::fill_n(values.begin() + 512, 256, 0.0f);
  std::vector<reference::Activation32> per32(64);
  std::vector<reference::Activation256> per256(8);
  if (!operations.quantize_per32(values.data(), 2048, per32.data()) ||
      !operations.quantize_per256(values.data(), 2048, per256.data()))
    std::printf("result quantize WRONG: refused\n");
  quantised.add(per32);
  quantised.add(per256);
  values[1000] = INFINITY;
  if (operations.quantize_per32(values.data(), 2048, per32.data()) ||
      operations.quantize_per256(values.data(), 2048, per256.data()))
    std::printf("result quantize WRONG: took an infinity\n");
  quantised.print("quantize");
}

void loops() {
  const VectorLoops& loops = vector_loops();
  Hash hash;
  for (int64_t n = 0; n < 70; ++n) {
    const auto size = static_cast<size_t>(n);
    const auto a = random_values(size, 1), b = random_values(size, 2);
    std::vector<uint16_t> half(size);
    loops.float_to_half(a.data(), half.data(), n);
    std::vector<float> wide(size);
    loops.half_to_float(half.data(), wide.data(), n);
    auto y = b;
    loops.add_scaled(0.3f, a.data(), y.data(), n);
    loops.add_scaled_half(-0.7f, half.data(), y.data(), n);
    hash.add(half);
    hash.add(wide);
    hash.add(y);
    hash.add(std::vector<float>{loops.dot(a.data(), b.data(), n), loops.dot_half(half.data(), b.data(), n)});
  }
  hash.print("vector loops");
}

void bounded_row_operations() {
  const RowOperations &operations = row_operations(), &base = kRowOperationsBaseline;
  for (const int64_t n : {1, 9, 33, 100, 576}) {
    const auto size = static_cast<size_t>(n);
    const auto x = random_values(size, 1), y = random_values(size, 2);
    std::vector<float> out(size), expected(size);
    operations.rms_norm(x.data(), y.data(), n, 1e-6f, out.data());
    base.rms_norm(x.data(), y.data(), n, 1e-6f, expected.data());
    print_bound("rms_norm", out, expected, 4e-7);
    out = expected = x;
    operations.swiglu(out.data(), y.data(), n);
    base.swiglu(expected.data(), y.data(), n);
    print_bound("swiglu", out, expected, 6e-7);
    operations.sigmoid(x.data(), n, out.data());
    base.sigmoid(x.data(), n, expected.data());
    print_bound("sigmoid", out, expected, 2e-7);
    operations.softmax(x.data(), n, out.data());
    base.softmax(x.data(), n, expected.data());
    print_bound("softmax", out, expected, 2e-7);
    const auto weights = random_values(7 * 3, 5), rows = random_values(3 * size, 6);
    out.assign(7 * size, 0.5f);
    expected = out;
    operations.add_weighted_rows(weights.data(), 3, 7, rows.data(), n, 3, n, out.data(), n);
    base.add_weighted_rows(weights.data(), 3, 7, rows.data(), n, 3, n, expected.data(), n);
    print_bound("add_weighted_rows", out, expected, 1e-6);
  }
}

void attention() {
  for (const int64_t n_heads : {1, 2, 3, 4, 9}) {
    constexpr int64_t kPositions = 150, kSize = 40;
    const auto rows = random_values(kPositions * kSize, 6), q = random_values(static_cast<size_t>(n_heads * kSize), 8);
    const void* const page = rows.data();
    const KeysAndValues context{&page, &page, 192, CacheType::F32, kSize * 4, kSize * 4, 0, 0};
    std::vector<float> out(q.size()), expected(q.size());
    const AttentionRow row{q.data(), &context, kPositions - 3, out.data()};
    attend(pool(), {n_heads, 1, kSize, kSize, 0.3f}, &row, 1);
    const int64_t n_visible = kPositions - 3;
    reference::attention({n_heads, 1, kSize, kSize, 0.3f}, q.data(), rows.data(), rows.data(), &n_visible, 1,
                         expected.data());
    print_bound("attention", out, expected, 1e-5);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc > 1) setenv("SLUICE_ISA", argv[1], 1);
    std::printf("level %s\n", std::string(isa_name(chosen_isa())).c_str());
    products();
    exact_row_operations();
    loops();
    bounded_row_operations();
    attention();
    test::print_instruction_counts();
    test::print_operation_counts();
    return 0;
  } catch (const std::exception& error) {
    std::printf("error: %s\n", error.what());
    return 2;
  }
}
