// Products of matrices of every type, and of every resident form, with 1, 16 and 128 inputs, on one thread and on all,
// against the machine's limits. `cached` is one input, with weights that lie in the second-level cache.
//
//   weights/cycle   weights that a core multiplies a cycle (each by one input)
//   GB/s            bytes of weights a second
//   bandwidth_%     the same as a part of the read bandwidth that was measured with as many threads
//   peak_%          multiplications as a part of what the multipliers can do: 64 a cycle and core of 8-bit integers
//                   (two vpmaddubsw), 16 of floats (two fused multiply-adds) for types that are multiplied as floats
//
// Figures are of the median call. One input reads a matrix of twice the last-level cache, so that every byte comes from
// memory.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bench/kernels/machine.h"
#include "kernels/cpu/activations.h"
#include "kernels/cpu/multiply.h"
#include "kernels/cpu/rates.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/format.h"
#include "kernels/random_blocks.h"

namespace sluice::bench {
namespace {

using namespace sluice::kernels;

constexpr int64_t kColumns = 4096;
constexpr int64_t kRowsOfGemm = 4096;
constexpr int64_t kCachedRowsAThread = 64;
constexpr uint64_t kMostBytesOfGemv = uint64_t{512} << 20;

struct Limits {
  double clock = 0;                                       // cycles a second
  std::map<uint32_t, std::unique_ptr<ThreadPool>> pools;  // by number of threads
  std::map<uint32_t, double> bandwidth;                   // bytes a second, by number of threads
};

std::vector<std::byte> random_matrix(const gguf::TypeLayout& layout, int64_t n_rows) {
  const size_t row_bytes = static_cast<size_t>(kColumns / layout.block_values) * layout.block_bytes;
  std::vector<std::byte> data(static_cast<size_t>(n_rows) * row_bytes);
  const size_t pool_bytes = std::min<size_t>(data.size(), 256 * row_bytes);
  fill_random_blocks(layout.type, 1.0f / 64, 1, std::span(data).first(pool_bytes));
  for (size_t at = pool_bytes; at < data.size(); at += pool_bytes)
    std::memcpy(data.data() + at, data.data(), std::min(pool_bytes, data.size() - at));
  return data;
}

// Memory aligned as resident forms want it.
class AlignedBytes {
 public:
  explicit AlignedBytes(uint64_t n) : memory_(n + 64) {}
  std::byte* data() { return memory_.data() + (64 - reinterpret_cast<uintptr_t>(memory_.data()) % 64) % 64; }

 private:
  std::vector<std::byte> memory_;
};

AlignedBytes pack(const ResidentForm& form, const std::vector<std::byte>& blocks, int64_t n_rows) {
  AlignedBytes packed(form.bytes(n_rows, kColumns));
  const uint64_t row_bytes = blocks.size() / static_cast<uint64_t>(n_rows);
  for (int64_t row = 0; row < n_rows; row += kRowGroup) {
    const std::byte* rows[kRowGroup];
    for (int64_t r = 0; r < kRowGroup; ++r)
      rows[r] = blocks.data() + static_cast<uint64_t>(std::min(row + r, n_rows - 1)) * row_bytes;
    form.pack(rows, kColumns, packed.data() + static_cast<uint64_t>(row / kRowGroup) * form.group_bytes(kColumns));
  }
  return packed;
}

struct Family {
  const char* name;
  int64_t n_inputs;
  bool is_cached = false;
};
constexpr Family kFamilies[] = {{"gemv", 1}, {"cached", 1, true}, {"gemm16", 16}, {"gemm128", 128}};

// form null: blocks as files have them.
void multiply_by_inputs(benchmark::State& state, const Format& format, const ResidentForm* form, const Family& family,
                        ThreadPool& pool, const Limits& limits) {
  const int64_t n_inputs = family.n_inputs;
  const gguf::TypeLayout& layout = *format.layout;
  const uint64_t row_bytes = static_cast<uint64_t>(kColumns / layout.block_values) * layout.block_bytes;
  const uint64_t gemv_bytes = std::min(2 * last_level_cache_bytes(), kMostBytesOfGemv);
  const int64_t n_rows = family.is_cached ? kCachedRowsAThread * pool.n_threads()
                         : n_inputs == 1  ? static_cast<int64_t>(gemv_bytes / row_bytes)
                                          : kRowsOfGemm;
  const std::vector<std::byte> weights = random_matrix(layout, n_rows);
  std::vector<std::byte> inputs(static_cast<size_t>(n_inputs * kColumns) * sizeof(float));
  fill_random_blocks(gguf::TensorType::F32, 1, 2, inputs);
  std::vector<float> values(static_cast<size_t>(n_inputs * kColumns));
  std::memcpy(values.data(), inputs.data(), inputs.size());
  const Activations x(values.data(), n_inputs, kColumns, kColumns, true);
  std::vector<float> out(static_cast<size_t>(n_inputs * n_rows));

  MatrixProduct product;
  product.weights = {layout.type, weights.data(), n_rows, kColumns, row_bytes};
  AlignedBytes packed(0);
  uint64_t bytes = weights.size();
  if (form != nullptr) {
    packed = pack(*form, weights, n_rows);
    bytes = form->bytes(n_rows, kColumns);
    product.weights.data = packed.data();
    product.weights.form = form;
  }
  product.x = &x;
  product.n_inputs = n_inputs;
  product.out = out.data();
  product.out_stride = n_rows;
  multiply(pool, std::span(&product, 1));  // prepares the inputs

  std::vector<double> seconds;
  for (auto _ : state) {
    const auto begin = std::chrono::steady_clock::now();
    if (!multiply(pool, std::span(&product, 1))) state.SkipWithError("an input is not finite");
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    state.SetIterationTime(seconds.back());
  }
  std::ranges::nth_element(seconds, seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2));
  const double median = seconds[seconds.size() / 2];
  const double core_cycles = median * limits.clock * pool.n_threads();
  const double products = static_cast<double>(n_rows * kColumns * n_inputs);
  const double bytes_a_second = static_cast<double>(bytes) / median;
  const double peak = format.activation == ActivationFormat::F32 ? 16 : 64;
  state.counters["weights/cycle"] = products / core_cycles;
  state.counters["GB/s"] = bytes_a_second * 1e-9;
  state.counters["bandwidth_%"] = 100 * bytes_a_second / limits.bandwidth.at(pool.n_threads());
  state.counters["peak_%"] = 100 * products / core_cycles / peak;
}

std::string rounded(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

void measure_limits(Limits& limits) {
  limits.clock = core_clock();
  benchmark::AddCustomContext("core clock, GHz", rounded(limits.clock * 1e-9));
  for (const uint32_t n_threads : {1u, usable_cores().default_threads()}) {
    auto& pool = limits.pools[n_threads];
    if (pool) continue;
    pool = std::make_unique<ThreadPool>(n_threads);
    limits.bandwidth[n_threads] = read_bandwidth(*pool, std::min(8 * last_level_cache_bytes(), uint64_t{1} << 30));
    benchmark::AddCustomContext("read bandwidth with " + std::to_string(n_threads) + " threads, GB/s",
                                rounded(limits.bandwidth[n_threads] * 1e-9));
  }
}

void register_all(const Limits& limits) {
  for (const Family& family : kFamilies)
    for (const Format& format : all_formats()) {
      if (!has_random_blocks(format.type)) continue;
      std::vector<const ResidentForm*> forms = {nullptr};
      if (const ResidentForm* form = resident_form(format.type)) forms.push_back(form);
      for (const ResidentForm* form : forms)
        for (const auto& [n_threads, pool] : limits.pools) {
          const std::string name = std::string(family.name) + "/" + std::string(format.layout->name) +
                                   (form != nullptr ? "-resident" : "") + "/threads:" + std::to_string(n_threads);
          benchmark::RegisterBenchmark(name.c_str(),
                                       [&format, form, &family, &pool = *pool, &limits](benchmark::State& state) {
                                         multiply_by_inputs(state, format, form, family, pool, limits);
                                       })
              ->UseManualTime()
              ->Unit(benchmark::kMillisecond)
              ->MinTime(0.2);
        }
    }
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  sluice::bench::Limits limits;
  sluice::bench::measure_limits(limits);
  sluice::bench::register_all(limits);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
