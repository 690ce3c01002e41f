#include "kernels/cpu/first_touch.h"

#include <algorithm>

namespace sluice::kernels {

// 4096 is the least page that Linux has; touching a larger one more than once costs nothing. A piece is as large as a
// huge page, so that the threads do not ask the disk for the same one.
static constexpr int64_t kPageBytes = 4096, kPiecePages = 512;

void touch_pages(ThreadPool& pool, const std::byte* matrices, int64_t n_matrices, uint64_t matrix_bytes) {
  const int64_t n_pages = static_cast<int64_t>((matrix_bytes + kPageBytes - 1) / kPageBytes);
  for (int64_t i = 0; i < n_matrices; ++i) {
    const volatile std::byte* const matrix = matrices + static_cast<uint64_t>(i) * matrix_bytes;  // reads must happen
    pool.run_ranges(n_pages, kPiecePages, [matrix](int64_t begin, int64_t end) {
      for (int64_t page = begin; page < end; ++page) static_cast<void>(matrix[page * kPageBytes]);
    });
  }
}

}  // namespace sluice::kernels
