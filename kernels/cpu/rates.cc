#include "kernels/cpu/rates.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/multiply.h"

namespace sluice::kernels {
namespace {

template <typename Work>
double seconds_of(const Work& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

double read_bandwidth(ThreadPool& pool, uint64_t bytes) {
  constexpr int64_t kPiece = 1 << 20;
  const int64_t n_pieces = std::max<int64_t>(1, static_cast<int64_t>(bytes / kPiece));
  const std::unique_ptr<uint64_t[]> memory(new uint64_t[static_cast<size_t>(n_pieces * (kPiece / 8))]);
  pool.run(n_pieces, [&](int64_t i) { std::memset(memory.get() + i * (kPiece / 8), 1, kPiece); });
  std::vector<uint64_t> sums(static_cast<size_t>(n_pieces));
  double best = 1e9;
  for (int round = 0; round < 8; ++round)
    best = std::min(best, seconds_of([&] {
                      pool.run(n_pieces, [&](int64_t i) {
                        const uint64_t* words = memory.get() + i * (kPiece / 8);
                        uint64_t lanes[8] = {};  // sums apart, so that the compiler may use vectors
                        for (int64_t w = 0; w < kPiece / 8; w += 8)
                          for (int64_t lane = 0; lane < 8; ++lane) lanes[lane] += words[w + lane];
                        for (const uint64_t lane : lanes) sums[static_cast<size_t>(i)] += lane;
                      });
                    }));
  volatile uint64_t keep = sums[0];  // the loads must happen
  (void)keep;
  return static_cast<double>(n_pieces * kPiece) / best;
}

double product_rate(ThreadPool& pool, gguf::TensorType type, const ResidentForm* form, int64_t n_inputs) {
  // Zeros take the same time as other weights, and 256 rows a thread stay in the second-level cache.
  constexpr int64_t kColumns = 2048;
  const int64_t n_rows = 256 * pool.n_threads();
  const gguf::TypeLayout& layout = gguf::type_layout(type);
  const uint64_t row_bytes = static_cast<uint64_t>(kColumns / layout.block_values) * layout.block_bytes;
  const uint64_t bytes = form != nullptr ? form->bytes(n_rows, kColumns) : row_bytes * static_cast<uint64_t>(n_rows);
  std::vector<std::byte> memory(bytes + 64);
  auto* aligned = reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
  const std::vector<float> x(static_cast<size_t>(n_inputs * kColumns), 1.0f);
  std::vector<float> out(static_cast<size_t>(n_inputs * n_rows));
  const Activations input(x.data(), n_inputs, kColumns, kColumns, true);
  const MatrixProduct product{
      {type, aligned, n_rows, kColumns, row_bytes, form}, &input, nullptr, n_inputs, out.data(), n_rows};
  double best = 1e9;
  for (int round = 0; round < (n_inputs == 1 ? 20 : 5); ++round)
    best = std::min(best, seconds_of([&] { multiply(pool, std::span(&product, 1)); }));
  return static_cast<double>(n_inputs * n_rows * kColumns) / best;
}

double attention_rate(ThreadPool& pool) {
  // As latent attention has it. All pages are the same one, which stays in the caches.
  constexpr int64_t kKey = 576, kValue = 512, kPage = 128, kPages = 16;
  const int64_t n_heads = 16 * pool.n_threads();
  const auto row_bytes = cache_row_bytes(CacheType::F16, kKey);
  const std::vector<std::byte> page(static_cast<size_t>(kPage * row_bytes));
  const std::vector<const void*> pages(kPages, page.data());
  const KeysAndValues context{pages.data(),      pages.data(),     kPage, CacheType::F16, row_bytes, row_bytes,
                              kPage * row_bytes, kPage * row_bytes};
  const std::vector<float> query(static_cast<size_t>(n_heads * kKey), 0.01f);
  std::vector<float> out(static_cast<size_t>(n_heads * kValue));
  const AttentionRow row{query.data(), &context, kPages * kPage, out.data()};
  double best = 1e9;
  for (int round = 0; round < 5; ++round)
    best = std::min(best, seconds_of([&] { attend(pool, {n_heads, 1, kKey, kValue, 0.01f}, &row, 1); }));
  return static_cast<double>(n_heads * kPages * kPage * (kKey + kValue)) / best;
}

}  // namespace sluice::kernels
