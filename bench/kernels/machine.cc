#include "bench/kernels/machine.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

namespace sluice::bench {
namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Four sums of eight bytes, read together.
typedef uint64_t Vector __attribute__((vector_size(32)));

uint64_t sum_of(const std::byte* from, int64_t n_bytes) {
  constexpr int kChains = 8;  // independent, so that only the loads limit it
  Vector sums[kChains] = {};
  for (int64_t at = 0; at < n_bytes; at += static_cast<int64_t>(sizeof sums))
    for (int i = 0; i < kChains; ++i) {
      Vector loaded;
      std::memcpy(&loaded, from + at + i * static_cast<int64_t>(sizeof loaded), sizeof loaded);
      sums[i] += loaded;
    }
  for (int i = 1; i < kChains; ++i) sums[0] += sums[i];
  return sums[0][0] + sums[0][1] + sums[0][2] + sums[0][3];
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

double read_bandwidth(kernels::ThreadPool& pool) {
  constexpr int64_t kPiece = 1 << 20;
  const int64_t n_pieces = std::min<int64_t>(static_cast<int64_t>(8 * last_level_cache_bytes()), 1 << 30) / kPiece;
  std::vector<std::byte> buffer(static_cast<size_t>(n_pieces * kPiece), std::byte{1});
  std::vector<uint64_t> sums(static_cast<size_t>(n_pieces));
  double best = 0;
  for (int pass = 0; pass < 8; ++pass) {
    const auto begin = std::chrono::steady_clock::now();
    pool.run(n_pieces, [&](int64_t i) { sums[static_cast<size_t>(i)] = sum_of(buffer.data() + i * kPiece, kPiece); });
    best = std::max(best, static_cast<double>(buffer.size()) / seconds_since(begin));
    // The sums must be what was read, or the compiler might leave the reading out.
    for (const uint64_t sum : sums)
      if (sum != 0x0101010101010101u * (kPiece / 8)) return 0;
  }
  return best;
}

uint64_t last_level_cache_bytes() {
  int64_t bytes = 0;
  for (const auto& cache : benchmark::CPUInfo::Get().caches) bytes = std::max<int64_t>(bytes, cache.size);
  return bytes > 0 ? static_cast<uint64_t>(bytes) : uint64_t{32} << 20;
}

}  // namespace sluice::bench
