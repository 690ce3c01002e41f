#include "kernels/cpu/activations.h"

#include <atomic>

#include "kernels/reference/activations.h"

namespace sluice::kernels {
namespace {

// One row through its 8-bit form and back to floats: what the integer kernels see, in a form that plain loops can multiply.
template <typename Block, int64_t kValues>
bool round_row(const float* values, int64_t n, bool (*quantize)(const float*, int64_t, Block*), float* rounded) {
  for (int64_t at = 0; at < n; at += kValues) {
    Block block;
    if (!quantize(values + at, kValues, &block)) return false;
    for (int64_t i = 0; i < kValues; ++i) rounded[at + i] = block.scale * static_cast<float>(block.q[i]);
  }
  return true;
}

}  // namespace

static size_t form_index(ActivationFormat format) { return format == ActivationFormat::Per32 ? 0 : 1; }

bool Activations::prepare(ThreadPool& pool, ActivationFormat format) const {
  if (!is_rounded(format)) return true;
  std::vector<float>& rounded = rounded_[form_index(format)];
  if (!rounded.empty()) return true;
  rounded.resize(static_cast<size_t>(n_rows_ * n_columns_));
  std::atomic<bool> finite{true};
  pool.run(n_rows_, [&](int64_t i) {
    float* to = rounded.data() + i * n_columns_;
    const bool ok = format == ActivationFormat::Per32
                        ? round_row<reference::Activation32, 32>(values_ + i * stride_, n_columns_,
                                                                 reference::quantize_per32, to)
                        : round_row<reference::Activation256, 256>(values_ + i * stride_, n_columns_,
                                                                   reference::quantize_per256, to);
    if (!ok) finite.store(false, std::memory_order_relaxed);
  });
  return finite.load();
}

const float* Activations::row(int64_t i, ActivationFormat format) const {
  if (!is_rounded(format)) return values_ + i * stride_;
  return rounded_[form_index(format)].data() + i * n_columns_;
}

}  // namespace sluice::kernels
