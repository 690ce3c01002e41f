// A matrix in a resident form.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <vector>

#include "kernels/resident.h"

namespace sluice::test {

struct AlignedDelete {
  void operator()(std::byte* p) const { ::operator delete (p, std::align_val_t{64}); }
};
using AlignedBytes = std::unique_ptr<std::byte, AlignedDelete>;

inline AlignedBytes pack(const kernels::ResidentForm& form, const std::vector<std::byte>& blocks, int64_t n_rows,
                         int64_t n_columns) {
  AlignedBytes packed(static_cast<std::byte*>(::operator new (form.bytes(n_rows, n_columns), std::align_val_t{64})));
  const uint64_t row_bytes = blocks.size() / static_cast<uint64_t>(n_rows);
  for (int64_t row = 0; row < n_rows; row += kernels::kRowGroup) {
    const std::byte* rows[kernels::kRowGroup];
    for (int64_t r = 0; r < kernels::kRowGroup; ++r)
      rows[r] = blocks.data() + static_cast<uint64_t>(std::min(row + r, n_rows - 1)) * row_bytes;
    form.pack(rows, n_columns,
              packed.get() + static_cast<uint64_t>(row / kernels::kRowGroup) * form.group_bytes(n_columns));
  }
  return packed;
}

}  // namespace sluice::test
