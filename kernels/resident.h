// Resident forms: other ways for weights to lie in memory, exact, where those multiply faster than the blocks of the
// file. They hold the same numbers, so every product has the same bits in either form.
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
  int64_t unit_columns;  // rows are a multiple of this long
  int64_t unit_bytes;    // of kRowGroup rows and unit_columns
  // Makes a group, 64-byte aligned, of the blocks of its rows. Called where the instruction set has a group_product only.
  using Pack = void(const std::byte* const* rows, int64_t n_columns, std::byte* group);
  Pack* pack;
  // The blocks of row r of a group again, byte for byte. Null in most forms: the file keeps the blocks.
  void (*restore_row)(const std::byte* group, int64_t r, int64_t n_columns, std::byte* row);
  // out[i * kRowGroup + r] = row r times inputs[i], as RowGroupProduct.
  using GroupProduct = void(const std::byte* group, int64_t n_columns, const void* const* inputs, int64_t n_inputs,
                            float* out);
  ByIsa<GroupProduct> group_product{};
  // Fills the part of a panel that a group takes, with the 256 columns from first_column on (those that there are) in rows
  // kRowGroup * eight and up. The panel is the one that the tile product of the format reads.
  using FillPanel = void(const std::byte* group, int64_t n_columns, int64_t first_column, int eight, void* panel);
  ByIsa<FillPanel> fill_panel{};

  // Bytes of a group of kRowGroup rows of n_columns, a multiple of unit_columns: whole cache lines.
  uint64_t group_bytes(int64_t n_columns) const {
    return static_cast<uint64_t>(n_columns / unit_columns * unit_bytes + 63) / 64 * 64;
  }
  // Of a matrix.
  uint64_t bytes(int64_t n_rows, int64_t n_columns) const {
    return static_cast<uint64_t>((n_rows + kRowGroup - 1) / kRowGroup) * group_bytes(n_columns);
  }
};

// The form of a type, or null where the blocks themselves are the best known. The choice between both is the engine's.
const ResidentForm* resident_form(gguf::TensorType type);

}  // namespace sluice::kernels
