#include "kernels/cpu/activations.h"

#include <atomic>

#include "kernels/cpu/row_operations.h"
#include "kernels/cpu/share_work.h"

namespace sluice::kernels {
namespace {

template <typename Block>
constexpr int64_t kBlockValues = sizeof(Block::q);

template <typename Block>
bool quantize_rows(ThreadPool& pool, const float* values, int64_t n_rows, int64_t n_columns, int64_t stride,
                   bool (*quantize)(const float*, int64_t, Block*), std::vector<Block>& blocks) {
  if (!blocks.empty()) return true;
  const int64_t row_blocks = n_columns / kBlockValues<Block>;
  blocks.resize(static_cast<size_t>(n_rows * row_blocks));
  std::atomic<bool> finite{true};
  const auto quantize_row = [&](int64_t i) {
    if (!quantize(values + i * stride, n_columns, blocks.data() + i * row_blocks))
      finite.store(false, std::memory_order_relaxed);
  };
  share_work(pool, n_rows, n_rows * n_columns * 5, quantize_row);
  return finite.load();
}

// What the integer kernels see, in a form that plain loops can multiply.
template <typename Block>
void round_rows(ThreadPool& pool, int64_t n_rows, const std::vector<Block>& blocks, std::vector<float>& rounded) {
  if (!rounded.empty() || blocks.empty()) return;
  const int64_t row_blocks = static_cast<int64_t>(blocks.size()) / n_rows;
  rounded.resize(blocks.size() * kBlockValues<Block>);
  share_work(pool, n_rows, static_cast<int64_t>(rounded.size()) * 5, [&](int64_t row) {
    float* to = rounded.data() + row * row_blocks * kBlockValues<Block>;
    for (int64_t b = 0; b < row_blocks; ++b) {
      const Block& block = blocks[static_cast<size_t>(row * row_blocks + b)];
      for (const int8_t q : block.q) *to++ = block.scale * static_cast<float>(q);
    }
  });
}

}  // namespace

bool Activations::prepare_blocks(ThreadPool& pool, ActivationFormat format) const {
  if (!is_eight_bit(format)) return true;
  if (format == ActivationFormat::Per32)
    return quantize_rows(pool, values_, n_rows_, n_columns_, stride_, row_operations().quantize_per32, per32_);
  return quantize_rows(pool, values_, n_rows_, n_columns_, stride_, row_operations().quantize_per256, per256_);
}

void Activations::prepare_rounded(ThreadPool& pool, ActivationFormat format) const {
  if (!is_eight_bit(format)) return;
  if (format == ActivationFormat::Per32)
    round_rows(pool, n_rows_, per32_, rounded_per32_);
  else
    round_rows(pool, n_rows_, per256_, rounded_per256_);
}

const void* Activations::blocks(int64_t i, ActivationFormat format) const {
  if (format == ActivationFormat::Per32) return per32_.data() + i * (n_columns_ / 32);
  return per256_.data() + i * (n_columns_ / 256);
}

const float* Activations::values(int64_t i, ActivationFormat format) const {
  if (!is_eight_bit(format)) return values_ + i * stride_;
  const std::vector<float>& rounded = format == ActivationFormat::Per32 ? rounded_per32_ : rounded_per256_;
  return rounded.data() + i * n_columns_;
}

}  // namespace sluice::kernels
