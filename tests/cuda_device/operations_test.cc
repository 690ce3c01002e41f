// Every operation of the device by itself, against the CPU's: also the ways that no model of the fixtures takes.

#include <cmath>
#include <memory>
#include <random>

#include "engine/device/cpu_device.h"
#include "engine/device/cuda_device.h"
#include "kernels/format.h"
#include "kernels/random_blocks.h"
#include "tests/cuda_device/fixture.h"

using namespace sluice;
using engine::Buffer;
using engine::Device;
using engine::Rows;

namespace {

std::vector<float> random_floats(size_t n, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& value : values) value = normal(generator);
  return values;
}

// A device with memory for what a test needs.
class Bench {
 public:
  explicit Bench(std::unique_ptr<Device> device) : device_(std::move(device)), stream_(device_->make_stream()) {}

  Device& device() { return *device_; }
  engine::Stream& stream() { return *stream_; }
  template <class T>
  T* put(const std::vector<T>& values) {
    buffers_.push_back(device_->allocate(values.size() * sizeof(T)));
    device_->copy_to_device(*stream_, buffers_.back()->data(), values.data(), values.size() * sizeof(T));
    return static_cast<T*>(buffers_.back()->data());
  }
  // Rows with a gap behind each.
  Rows rows(int64_t n_rows, int64_t n_cols, uint32_t seed, int64_t gap = 16) {
    const int64_t stride = n_cols + gap;
    return {put(random_floats(static_cast<size_t>(n_rows * stride), seed)), n_rows, n_cols, stride};
  }
  std::vector<float> get(Rows x) {
    std::vector<float> values(static_cast<size_t>(x.n_rows * x.n_cols));
    for (int64_t i = 0; i < x.n_rows; ++i)
      device_->copy_to_host(*stream_, values.data() + i * x.n_cols, x.row(i),
                            static_cast<uint64_t>(x.n_cols) * sizeof(float));
    device_->synchronize(*stream_);
    return values;
  }
  engine::Linear matrix(gguf::TensorType type, int64_t n_outputs, int64_t n_inputs, uint32_t seed) {
    const kernels::Format& format = kernels::format_of(type);
    engine::Linear linear;
    linear.type = type;
    linear.place = engine::Place::Buffer;
    linear.n_outputs = n_outputs;
    linear.n_inputs = n_inputs;
    linear.row_bytes = static_cast<uint64_t>(n_inputs / format.layout->block_values * format.layout->block_bytes);
    std::vector<std::byte> blocks(linear.row_bytes * static_cast<uint64_t>(n_outputs));
    kernels::fill_random_blocks(type, 0.5f, seed, blocks);
    linear.data = put(blocks);
    return linear;
  }

 private:
  std::unique_ptr<Device> device_;
  std::unique_ptr<engine::Stream> stream_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

// What an operation leaves on the CPU and on the GPU.
void check_same(const char* name, const std::function<std::vector<float>(Bench&)>& run, double tolerance = 1e-5) {
  tests::fresh_gpu({}, true);
  Bench cpu(engine::make_cpu_device(1, false, true)), gpu(engine::make_cuda_device({}));
  const std::vector<float> expected = run(cpu), got = run(gpu);
  CAPTURE(std::string(name));
  REQUIRE(expected.size() == got.size());
  REQUIRE(!expected.empty());
  float largest = 0;
  for (const float value : expected) largest = std::max(largest, std::fabs(value));
  CHECK(largest > 0);
  double difference = 0;
  for (size_t i = 0; i < got.size(); ++i)
    difference = std::max(difference, static_cast<double>(std::fabs(got[i] - expected[i])));
  CHECK(difference <= tolerance * largest);
  CHECK(simt::take_findings() == std::vector<std::string>());
}

}  // namespace

TEST_CASE("products of rows in any order, of several matrices, with and without equal distances") {
  for (const auto type : {gguf::TensorType::Q8_0, gguf::TensorType::Q4_K, gguf::TensorType::F16})
    check_same("multiply", [&](Bench& b) {
      const Rows x = b.rows(5, 256, 1);
      const engine::Linear first = b.matrix(type, 24, 256, 2), second = b.matrix(type, 24, 256, 3),
                           wider = b.matrix(type, 40, 256, 4);
      engine::Linear biased = b.matrix(type, 24, 256, 5);
      biased.bias = {b.put(random_floats(24, 6)), 24};
      const int32_t uneven[] = {4, 0, 3}, backwards[] = {3, 2, 1}, even[] = {0, 2, 4}, one[] = {2};
      const Rows out[] = {b.rows(3, 24, 7),  b.rows(3, 24, 8),  b.rows(3, 24, 9),
                          b.rows(5, 40, 10), b.rows(1, 24, 11), b.rows(5, 24, 12)};
      const auto input = b.device().prepare(b.stream(), x);
      const engine::Product products[] = {
          {&first, input.get(), uneven, out[0]},     {&first, input.get(), even, out[1]},
          {&second, input.get(), backwards, out[2]}, {&wider, input.get(), nullptr, out[3]},
          {&second, input.get(), one, out[4]},       {&biased, input.get(), nullptr, out[5]}};
      b.device().multiply(b.stream(), products);
      std::vector<float> all;
      for (const Rows& rows : out) {
        const std::vector<float> values = b.get(rows);
        all.insert(all.end(), values.begin(), values.end());
      }
      return all;
    });
}

TEST_CASE("products across rows, at equal distances and not") {
  check_same("multiply_transposed", [](Bench& b) {
    const engine::Linear matrix = b.matrix(gguf::TensorType::Q8_0, 96, 64, 1);
    const engine::Linear heads[] = {matrix.rows(0, 32), matrix.rows(32, 32), matrix.rows(64, 32), matrix.rows(16, 32)};
    const Rows x = b.rows(2, 128, 2), out = b.rows(2, 256, 3);
    std::vector<engine::TransposedProduct> products;
    for (int64_t h = 0; h < 4; ++h) products.push_back({&heads[h], x.columns(h * 32, 32), out.columns(h * 64, 64)});
    b.device().multiply_transposed(b.stream(), products);
    return b.get(out);
  });
}

TEST_CASE("rows are embedded from a table in the file and from one on the device") {
  for (const bool is_in_file : {false, true})
    check_same(
        "embed",
        [&](Bench& b) {
          std::vector<float> table = random_floats(20 * 48, 1);
          engine::Linear linear;
          linear.type = gguf::TensorType::F32;
          linear.n_outputs = 20;
          linear.n_inputs = 48;
          linear.row_bytes = 48 * sizeof(float);
          linear.data = reinterpret_cast<const std::byte*>(is_in_file ? table.data() : b.put(table));
          linear.place = is_in_file ? engine::Place::MappedFile : engine::Place::Buffer;
          const Rows out = b.rows(3, 48, 2);
          const int32_t ids[] = {19, 0, 7};
          b.device().embed(b.stream(), linear, ids, out);
          return b.get(out);
        },
        0);
}

TEST_CASE("norms of groups, gates, sums, copies and turns") {
  check_same("rms_norm of heads", [](Bench& b) {
    const Rows x = b.rows(3, 64, 1);
    const engine::Vector weight{b.put(random_floats(16, 2)), 16};
    b.device().rms_norm(b.stream(), x, weight, 1e-6f, x);
    return b.get(x);
  });
  check_same("norm_and_prepare", [](Bench& b) {
    const Rows x = b.rows(3, 96, 1), change = b.rows(3, 96, 2), out = b.rows(3, 96, 3);
    const engine::Vector weight{b.put(random_floats(96, 4)), 96};
    const auto input = b.device().norm_and_prepare(b.stream(), x, &change, weight, 1e-6f, out);
    std::vector<float> all = b.get(out), sum = b.get(x);
    all.insert(all.end(), sum.begin(), sum.end());
    return all;
  });
  check_same("swiglu, add, copy_rows", [](Bench& b) {
    const Rows gate = b.rows(3, 50, 1), up = b.rows(3, 50, 2), copy = b.rows(3, 50, 3);
    b.device().swiglu(b.stream(), gate, up);
    b.device().copy_rows(b.stream(), gate, copy);
    b.device().add(b.stream(), copy, up);
    return b.get(copy);
  });
  check_same("rope", [](Bench& b) {
    kernels::reference::Rope rope;
    rope.n_dims = 16;
    const int32_t positions[] = {0, 7, 100000};
    const Rows x = b.rows(3, 64, 1), cosines = b.rows(3, 8, 2), sines = b.rows(3, 8, 3);
    b.device().rope_angles(b.stream(), rope, positions, cosines, sines);
    b.device().rope(b.stream(), x, 2, 32, kernels::reference::RopePairs::Halves, cosines, sines);
    return b.get(x);
  });
}

TEST_CASE("cache rows are written and read back, and chosen rows are summed") {
  for (const auto type :
       {kernels::CacheType::F16, kernels::CacheType::BF16, kernels::CacheType::Q8_0, kernels::CacheType::F32})
    check_same(
        "store and load",
        [&](Bench& b) {
          const int64_t row_bytes = kernels::cache_row_bytes(type, 40);
          std::byte* page = b.put(std::vector<std::byte>(static_cast<size_t>(row_bytes * 8)));
          const Rows x = b.rows(3, 80, 1), back = b.rows(3, 40, 2);
          b.device().store(b.stream(), x, 2, type, page, row_bytes, row_bytes * 4);
          b.device().load(b.stream(), type, page + row_bytes * 4, row_bytes, back);
          return b.get(back);
        },
        0);
  check_same("weighted_sum", [](Bench& b) {
    const Rows y = b.rows(6, 32, 1), out = b.rows(2, 32, 2);
    const int32_t places[] = {5, 0, 3, 1, 1, 4};
    const float weights[] = {0.5f, 0.25f, 2, 1, -1, 3};
    b.device().weighted_sum(b.stream(), y, places, weights, 3, out);
    return b.get(out);
  });
}

TEST_CASE("a choice of experts is read back") {
  check_same("route", [](Bench& b) {
    kernels::reference::RouterRule rule;
    rule.n_experts = 32;
    rule.n_chosen = 4;
    rule.gating = kernels::reference::Gating::Sigmoid;
    rule.normalize = true;
    rule.n_groups = 4;
    rule.n_chosen_groups = 2;
    const Rows logits = b.rows(3, 32, 1);
    const engine::Vector bias{b.put(random_floats(32, 2)), 32};
    std::vector<int32_t> ids(12);
    std::vector<float> weights(12);
    b.device().route(b.stream(), rule, logits, &bias, ids, weights);
    weights.insert(weights.end(), ids.begin(), ids.end());
    return weights;
  });
}

TEST_CASE("a value that is not finite is an error where it is waited for, once") {
  for (const float bad : {INFINITY, -INFINITY, NAN}) {
    tests::fresh_gpu();
    Bench gpu(engine::make_cuda_device({}));
    std::vector<float> values(256, 1.0f);
    values[200] = bad;
    const auto input = gpu.device().prepare(gpu.stream(), {gpu.put(values), 1, 256, 256});
    CHECK_THROWS_AS(gpu.device().synchronize(gpu.stream()), engine::Error);
    CHECK_NOTHROW(gpu.device().synchronize(gpu.stream()));
  }
}

TEST_CASE("what was given up is not run later, and results of what failed are not written later") {
  tests::fresh_gpu();
  Bench gpu(engine::make_cuda_device({}));
  const Rows x{gpu.put(std::vector<float>(64, 1.0f)), 1, 64, 64}, y{gpu.put(std::vector<float>(64, 2.0f)), 1, 64, 64};
  gpu.device().add(gpu.stream(), x, y);
  gpu.stream().abandon();
  CHECK(gpu.get(x) == std::vector<float>(64, 1.0f));

  std::vector<float> first(64), second(64);
  gpu.device().copy_to_host(gpu.stream(), first.data(), x.data, 256);
  simt::inject_fault({simt::FaultPoint::Copy, 1, 999, 1});
  CHECK_THROWS_AS(gpu.device().copy_to_host(gpu.stream(), second.data(), x.data, 256), engine::Error);
  gpu.device().synchronize(gpu.stream());
  CHECK(first == std::vector<float>(64));
  gpu.device().copy_to_host(gpu.stream(), second.data(), y.data, 256);
  gpu.device().synchronize(gpu.stream());
  CHECK(second == std::vector<float>(64, 2.0f));
}

TEST_CASE("more values than a pass has room for are no error") {
  tests::fresh_gpu();
  Bench gpu(engine::make_cuda_device({}));
  const Rows x{gpu.put(std::vector<float>(64, 0.0f)), 1, 64, 64};
  std::vector<float> table(64);
  engine::Linear linear;
  linear.n_outputs = 1;
  linear.n_inputs = 64;
  linear.row_bytes = 256;
  linear.data = reinterpret_cast<const std::byte*>(table.data());
  const Rows out{gpu.put(std::vector<float>(64 * 5000)), 5000, 64, 64};  // 1.2 MiB of values
  std::ranges::fill(table, 2.0f);
  gpu.device().embed(gpu.stream(), linear, std::vector<int32_t>(5000), out);
  for (int i = 0; i < 2000; ++i) {  // and many small ones
    table[0] = static_cast<float>(i);
    gpu.device().embed(gpu.stream(), linear, std::vector<int32_t>(1), x);
    gpu.device().add(gpu.stream(), out.rows(i, 1), x);
  }
  const std::vector<float> got = gpu.get(out);
  CHECK(got[64 * 1999] == 2 + 1999);
  CHECK(got[64 * 4999 + 63] == 2);
}
