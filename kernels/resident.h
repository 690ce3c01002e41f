// Resident forms: other ways for weights to lie in memory, exact and invertible, where those multiply faster than the
// blocks of the file. They hold the same numbers, so every product has the same bits in either form.
//
// Rows lie in groups of kRowGroup side by side; the last group of a matrix repeats its last row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kernels/format.h"

namespace sluice::kernels {

struct ResidentForm {
  gguf::TensorType type;  // of the blocks it is made of
  std::string_view name;
  int64_t super_block_bytes;  // of kRowGroup rows and 256 columns
  // Makes a group, 64-byte aligned, of the blocks of its rows.
  void (*pack)(const std::byte* const* rows, int64_t n_columns, std::byte* group);
  // The blocks of row r of a group again, byte for byte.
  void (*restore_row)(const std::byte* group, int64_t r, int64_t n_columns, std::byte* row);
  // out[i * kRowGroup + r] = row r times inputs[i], as RowGroupProduct.
  using GroupProduct = void(const std::byte* group, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                            float* out);
  ByIsa<GroupProduct> group_product{};

  // Bytes of a group of kRowGroup rows of n_columns, a multiple of 256: whole cache lines.
  uint64_t group_bytes(int64_t n_columns) const {
    return static_cast<uint64_t>(n_columns / 256 * super_block_bytes + 63) / 64 * 64;
  }
  // Of a matrix.
  uint64_t bytes(int64_t n_rows, int64_t n_columns) const {
    return static_cast<uint64_t>((n_rows + kRowGroup - 1) / kRowGroup) * group_bytes(n_columns);
  }
};

// The form of a type, or null where the blocks themselves are the best known. The choice between both is the engine's.
const ResidentForm* resident_form(gguf::TensorType type);

}  // namespace sluice::kernels
