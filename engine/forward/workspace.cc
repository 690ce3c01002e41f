#include "engine/forward/workspace.h"

#include <algorithm>

namespace sluice::engine {

static constexpr uint64_t kAlignment = 64;
static constexpr uint64_t kSmallestBuffer = uint64_t{1} << 20;

Rows Workspace::rows(int64_t n_rows, int64_t n_cols) {
  const uint64_t row_bytes = (static_cast<uint64_t>(n_cols) * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
  const uint64_t bytes = std::max(kAlignment, row_bytes * static_cast<uint64_t>(n_rows));
  while (current_ < buffers_.size() && used_ + bytes > buffers_[current_]->bytes()) {
    ++current_;
    used_ = 0;
  }
  if (current_ == buffers_.size()) buffers_.push_back(device_.allocate(std::max(bytes, kSmallestBuffer)));
  auto* base = static_cast<std::byte*>(buffers_[current_]->data());
  Rows rows{reinterpret_cast<float*>(base + used_), n_rows, n_cols, static_cast<int64_t>(row_bytes / sizeof(float))};
  used_ += bytes;
  return rows;
}

void Workspace::release(Mark mark) {
  current_ = mark.buffer;
  used_ = mark.used;
}

uint64_t Workspace::bytes() const {
  uint64_t total = 0;
  for (const auto& buffer : buffers_) total += buffer->bytes();
  return total;
}

void Workspace::clear() {
  buffers_.clear();
  current_ = 0;
  used_ = 0;
}

void Workspace::reset() {
  if (buffers_.size() > 1) {
    const uint64_t total = bytes();
    buffers_.clear();
    buffers_.push_back(device_.allocate(total));
  }
  current_ = 0;
  used_ = 0;
}

}  // namespace sluice::engine
