#include "bench/kernels/machine.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>

namespace sluice::bench {
namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

double core_clock() {
  constexpr int64_t kRounds = 20000, kAddsInARound = 16;
  double best = 0;
  for (int trial = 0; trial < 200; ++trial) {
    uint64_t value = 1;
    const uint64_t step = 3;
    const auto begin = std::chrono::steady_clock::now();
    for (int64_t round = 0; round < kRounds; ++round)
      asm volatile(
          "add %1, %0\n add %1, %0\n add %1, %0\n add %1, %0\n add %1, %0\n add %1, %0\n add %1, %0\n add %1, %0\n"
          "add %1, %0\n add %1, %0\n add %1, %0\n add %1, %0\n add %1, %0\n add %1, %0\n add %1, %0\n add %1, %0\n"
          : "+r"(value)
          : "r"(step)
          : "cc");
    best = std::max(best, static_cast<double>(kRounds * kAddsInARound) / seconds_since(begin));
  }
  return best;
}

uint64_t last_level_cache_bytes() {
  int64_t bytes = 0;
  for (const auto& cache : benchmark::CPUInfo::Get().caches) bytes = std::max<int64_t>(bytes, cache.size);
  return bytes > 0 ? static_cast<uint64_t>(bytes) : uint64_t{32} << 20;
}

}  // namespace sluice::bench
