// What attention costs a position of context: decode and prefill, for the shapes of real models.
//
//   attention_bench [THREADS] [REPETITIONS]
//
// Each line is the median of the repetitions. Keys and values lie in pages as in the engine, and are larger than the
// caches for the longer contexts. `ns/pos` is the time a position, `GB/s` the bytes of keys and values in it, `GFLOP/s`
// counts a multiplication and an addition for every value of a key and of a value and query head.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <vector>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/row_operations.h"

using namespace sluice::kernels;

namespace {

struct Shape {
  const char* name;
  int64_t n_heads, n_kv_heads, key_size, value_size;
  bool latent;  // one row is key and value
};

constexpr Shape kShapes[] = {
    {"SmolLM2 135M", 9, 3, 64, 64, false},      {"Llama 8B", 32, 8, 128, 128, false},
    {"Qwen3 30B-A3B", 32, 4, 128, 128, false},  {"R1 absorbed", 128, 1, 576, 512, true},
    {"R1 expanded", 128, 128, 192, 128, false},
};

struct Type {
  const char* name;
  CacheType type;
};
constexpr Type kTypes[] = {
    {"f16", CacheType::F16}, {"bf16", CacheType::BF16}, {"q8_0", CacheType::Q8_0}, {"f32", CacheType::F32}};

constexpr int64_t kPage = 128;

std::vector<float> random_values(int64_t n) {
  std::mt19937 random(1);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
  return values;
}

struct Pages {
  Pages(CacheType type, int64_t n_positions, int64_t n_heads, int64_t n_columns)
      : row_bytes(cache_row_bytes(type, n_columns)), head_bytes(row_bytes * kPage) {
    const auto values = random_values(n_columns);
    std::vector<char> row(static_cast<size_t>(row_bytes));
    row_operations().store_cache_row(type, values.data(), n_columns, row.data());
    for (int64_t at = 0; at < n_positions; at += kPage) {
      memory.emplace_back();
      for (int64_t i = 0; i < kPage * n_heads; ++i) memory.back().insert(memory.back().end(), row.begin(), row.end());
    }
    for (const auto& page : memory) pointers.push_back(page.data());
  }
  int64_t row_bytes, head_bytes;
  std::vector<std::vector<char>> memory;
  std::vector<const void*> pointers;
};

// One thread is timed by the processor time it got, which a neighbour on the machine disturbs less; several by the wall.
double now_seconds(bool one_thread) {
  timespec time;
  clock_gettime(one_thread ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

template <typename Work>
double median_seconds(bool one_thread, int repetitions, const Work& work) {
  std::vector<double> seconds;
  work();
  for (int i = 0; i < repetitions; ++i) {
    const double start = now_seconds(one_thread);
    work();
    seconds.push_back(now_seconds(one_thread) - start);
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

// n_rows new rows that see a context of n_positions before them.
void measure(ThreadPool& pool, const Shape& shape, const Type& type, int64_t n_positions, int64_t n_rows,
             int repetitions) {
  const int64_t total = n_positions + n_rows;
  const Pages keys(type.type, total, shape.n_kv_heads, shape.key_size);
  const Pages values(type.type, shape.latent ? 0 : total, shape.n_kv_heads, shape.value_size);
  const Pages& value_rows = shape.latent ? keys : values;
  const KeysAndValues context{keys.pointers.data(), value_rows.pointers.data(), kPage,           type.type,
                              keys.row_bytes,       value_rows.row_bytes,       keys.head_bytes, value_rows.head_bytes};
  const auto q = random_values(n_rows * shape.n_heads * shape.key_size);
  std::vector<float> out(static_cast<size_t>(n_rows * shape.n_heads * shape.value_size));
  std::vector<AttentionRow> rows;
  double products = 0;
  for (int64_t i = 0; i < n_rows; ++i) {
    rows.push_back({q.data() + i * shape.n_heads * shape.key_size, &context, n_positions + i + 1,
                    out.data() + i * shape.n_heads * shape.value_size});
    products += static_cast<double>((n_positions + i + 1) * shape.n_heads * (shape.key_size + shape.value_size));
  }
  const AttentionHeads heads{shape.n_heads, shape.n_kv_heads, shape.key_size, shape.value_size, 0.1f};
  const double seconds =
      median_seconds(pool.n_threads() == 1, repetitions, [&] { attend(pool, heads, rows.data(), n_rows); });
  const double bytes =
      static_cast<double>((keys.row_bytes + (shape.latent ? 0 : values.row_bytes)) * shape.n_kv_heads * total);
  std::printf("%-14s %-5s %7lld %5lld %10.1f %9.2f %8.2f %9.1f\n", shape.name, type.name,
              static_cast<long long>(n_positions), static_cast<long long>(n_rows), seconds * 1e6,
              seconds * 1e9 / static_cast<double>(total), bytes / seconds / 1e9, 2 * products / seconds / 1e9);
}

}  // namespace

int main(int n_arguments, char** arguments) {
  const int n_threads = n_arguments > 1 ? std::atoi(arguments[1]) : 0;
  const int repetitions = n_arguments > 2 ? std::max(1, std::atoi(arguments[2])) : 15;
  ThreadPool pool(static_cast<uint32_t>(std::max(0, n_threads)));
  std::printf("%u threads\n%-14s %-5s %7s %5s %10s %9s %8s %9s\n", pool.n_threads(), "shape", "cache", "context",
              "rows", "us", "ns/pos", "GB/s", "GFLOP/s");
  for (const Shape& shape : kShapes) {
    if (&shape == &kShapes[4]) {
      measure(pool, shape, kTypes[3], 0, 512, repetitions);
      continue;
    }
    for (const int64_t n_positions : {127, 1023, 2047, 4095, 8191})
      measure(pool, shape, kTypes[0], n_positions, 1, repetitions);
    for (const Type& type : {kTypes[1], kTypes[2], kTypes[3]}) measure(pool, shape, type, 4095, 1, repetitions);
    measure(pool, shape, kTypes[0], 0, shape.latent ? 64 : 512, repetitions);
  }
  return 0;
}
