// What the operations on rows cost in decode: one row of 7,168 columns, on the calling thread.
//
//   row_operations_bench [REPETITIONS]
//
// Each line is the median time of one operation (processor time), for the chosen instruction set and for the reference.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/multiply.h"
#include "kernels/cpu/router.h"
#include "kernels/cpu/row_operations.h"
#include "kernels/format.h"

using namespace sluice;
using namespace sluice::kernels;

namespace {

constexpr int64_t kColumns = 7168;

std::vector<float> random_values(int64_t n) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = normal(random);
  return values;
}

double processor_seconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

double median_nanoseconds(int repetitions, int calls, const std::function<void()>& work) {
  std::vector<double> times;
  for (int i = 0; i < repetitions; ++i) {
    const double start = processor_seconds();
    for (int call = 0; call < calls; ++call) work();
    times.push_back((processor_seconds() - start) * 1e9 / calls);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

struct Operation {
  std::string name;
  std::function<void(const RowOperations&)> run;
};

void measure_transposed(gguf::TensorType type, int64_t n_inputs, int repetitions) {
  // The key part of a fused attn_kv_b: 128 heads of [128, 512].
  constexpr int64_t kHeads = 128, kRows = 128, kRank = 512;
  const gguf::TypeLayout& layout = *format_of(type).layout;
  const uint64_t row_bytes = static_cast<uint64_t>(kRank / layout.block_values) * layout.block_bytes;
  const std::vector<std::byte> weights(row_bytes * kRows * kHeads, std::byte{0x11});
  const auto x = random_values(n_inputs * kRows);
  std::vector<float> out(static_cast<size_t>(kHeads * n_inputs * kRank));
  std::vector<TransposedMatrixProduct> products;
  for (int64_t h = 0; h < kHeads; ++h)
    products.push_back({{type, weights.data() + static_cast<uint64_t>(h * kRows) * row_bytes, kRows, kRank, row_bytes},
                        x.data(),
                        kRows,
                        n_inputs,
                        out.data() + h * n_inputs * kRank,
                        kRank});
  ThreadPool pool(1);
  const double ns = median_nanoseconds(repetitions, 1, [&] { multiply_transposed(pool, products); });
  const double n_weights = static_cast<double>(kHeads * kRows * kRank);
  std::printf("transposed product %-5s %3lld inputs  %8.0f us  %6.2f Gweights/s  %6.1f GFLOP/s\n",
              std::string(layout.name).c_str(), static_cast<long long>(n_inputs), ns / 1e3, n_weights / ns,
              2 * n_weights * static_cast<double>(n_inputs) / ns);
}

}  // namespace

int main(int n_arguments, char** arguments) {
  const int repetitions = n_arguments > 1 ? std::max(1, std::atoi(arguments[1])) : 15;
  const auto source = random_values(kColumns), other = random_values(kColumns);
  std::vector<float> x = source, out(kColumns);
  std::vector<char> row(kColumns * 4);
  std::vector<reference::Activation32> per32(kColumns / 32);
  std::vector<reference::Activation256> per256(kColumns / 256);
  std::vector<const float*> eight_rows(8, other.data());
  const std::vector<float> eight_weights(8, 0.1f), angles(64, 0.5f);
  const auto store = [&](CacheType type) {
    return [&, type](const RowOperations& set) { set.store_cache_row(type, source.data(), kColumns, row.data()); };
  };
  const Operation operations[] = {
      {"rms_norm",
       [&](const RowOperations& set) { set.rms_norm(source.data(), other.data(), kColumns, 1e-6f, out.data()); }},
      {"quantize_per32", [&](const RowOperations& set) { set.quantize_per32(source.data(), kColumns, per32.data()); }},
      {"quantize_per256",
       [&](const RowOperations& set) { set.quantize_per256(source.data(), kColumns, per256.data()); }},
      {"swiglu", [&](const RowOperations& set) { set.swiglu(x.data(), other.data(), kColumns); }},
      {"add", [&](const RowOperations& set) { set.add(other.data(), out.data(), kColumns); }},
      {"weighted_sum of 8",
       [&](const RowOperations& set) {
         set.weighted_sum(eight_rows.data(), eight_weights.data(), 8, kColumns, out.data());
       }},
      {"rope, 112 heads of 64, pairs",
       [&](const RowOperations& set) {
         for (int64_t h = 0; h < 112; ++h) set.rope(x.data() + 64 * h, 32, true, angles.data(), angles.data());
       }},
      {"rope, 56 heads of 128, halves",
       [&](const RowOperations& set) {
         for (int64_t h = 0; h < 56; ++h) set.rope(x.data() + 128 * h, 64, false, angles.data(), angles.data());
       }},
      {"store f16", store(CacheType::F16)},
      {"store bf16", store(CacheType::BF16)},
      {"store q8_0", store(CacheType::Q8_0)},
      {"sigmoid of 256", [&](const RowOperations& set) { set.sigmoid(source.data(), 256, out.data()); }},
      {"softmax of 256", [&](const RowOperations& set) { set.softmax(source.data(), 256, out.data()); }},
  };
  std::printf("%-32s %10s %12s\n", "one row of 7,168 columns", "ns", "reference ns");
  for (const Operation& operation : operations) {
    const auto time = [&](const RowOperations& set) {
      return median_nanoseconds(repetitions, 100, [&] {
        if (operation.name == "swiglu") x = source;  // in place: keep the values what they are
        operation.run(set);
      });
    };
    std::printf("%-32s %10.0f %12.0f\n", operation.name.c_str(), time(row_operations()), time(kRowOperationsBaseline));
  }
  reference::RouterRule rule{256, 8, reference::Gating::Sigmoid, true, 2.5f, 8, 4};
  std::vector<int32_t> ids(8);
  std::vector<float> weights(8);
  std::printf("%-32s %10.0f %12.0f\n", "router, 8 of 256 in 8 groups",
              median_nanoseconds(repetitions, 100,
                                 [&] { route_row(rule, source.data(), other.data(), ids.data(), weights.data()); }),
              median_nanoseconds(repetitions, 100, [&] {
                reference::route(rule, source.data(), other.data(), ids.data(), weights.data());
              }));
  for (const auto type : {gguf::TensorType::F16, gguf::TensorType::Q8_0, gguf::TensorType::Q4_K, gguf::TensorType::Q6_K,
                          gguf::TensorType::Q3_K})
    for (const int64_t n_inputs : {1, 64}) measure_transposed(type, n_inputs, repetitions);
  return 0;
}
