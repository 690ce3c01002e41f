// The way through a tile that all instruction sets take: block by block of columns the weights are decoded into panels, and
// every group of inputs meets them. Static, because files built for different instruction sets must not share functions.
#pragma once

#include <type_traits>

#include "kernels/cpu/weight_panels.h"

namespace sluice::kernels {

#define SLUICE_TILE_STEP static inline __attribute__((always_inline))

SLUICE_TILE_STEP void prefetch_bytes(const std::byte* from, int64_t bytes) {
  for (int64_t line = 0; line < bytes + 63; line += 64) __builtin_prefetch(from + line, 0, 2);
}

// Asks for the weights of the block of columns from `first` on, of some of a tile's rows, ahead of their decoding: a tile
// reads a few lines of each row at a time, which the hardware takes for no stream.
SLUICE_TILE_STEP void prefetch_rows(const TileJob& job, int64_t first_row, int64_t n_rows, int64_t first) {
  if (first >= job.n_columns) return;
  const int64_t left = job.n_columns - first, n = left < kPanelColumns ? left : kPanelColumns;
  if (job.form != nullptr) {
    const int64_t at = first / job.form->unit_columns * job.form->unit_bytes;
    const int64_t bytes = n / job.form->unit_columns * job.form->unit_bytes;
    for (int64_t g = first_row / kRowGroup; g < (first_row + n_rows) / kRowGroup; ++g)
      prefetch_bytes(job.groups[g] + at, bytes);
    return;
  }
  const gguf::TypeLayout& layout = *job.format->layout;
  const auto at = static_cast<int64_t>(layout.block_bytes) * (first / layout.block_values);
  const auto bytes = static_cast<int64_t>(layout.block_bytes) * (n / layout.block_values);
  for (int64_t r = first_row; r < first_row + n_rows; ++r) prefetch_bytes(job.rows[r] + at, bytes);
}

SLUICE_TILE_STEP void clear_sums(const TileJob& job) {
  const int64_t n = job.n_inputs() * kTileRows;
  for (int64_t i = 0; i < n; ++i) job.out[i] = 0;
}

// Calls run(numbers, out, N as a type) for each group of inputs of a job, with their numbers in that block of columns and
// their sums. Groups have up to kLargest inputs.
template <int kLargest, typename Run>
SLUICE_TILE_STEP void for_input_groups(const TileJob& job, int64_t block, const Run& run) {
  const std::byte* inputs = job.inputs + block * job.input_block_bytes;
  float* out = job.out;
  for (int64_t g = 0; g < job.n_input_groups; ++g) {
    const InputPanels::Group group = job.input_groups[g];
    const std::byte* numbers = inputs + group.first * job.bytes_an_input;
    if constexpr (kLargest >= 4)
      if (group.size == 4) run(numbers, out, std::integral_constant<int, 4>{});
    if (group.size == 3) run(numbers, out, std::integral_constant<int, 3>{});
    if (group.size == 2) run(numbers, out, std::integral_constant<int, 2>{});
    if (group.size == 1) run(numbers, out, std::integral_constant<int, 1>{});
    out += group.size * kTileRows;
  }
}

// Multiplies a tile, kAtOnce panels at a time. run(panels, n_columns, numbers, out, N as a type) adds a block of columns to
// the sums of a group of inputs with the rows of these panels: [N, kTileRows], of which they begin at `out`.
template <int kLargestGroup, int kAtOnce, typename Panel, typename Run>
SLUICE_TILE_STEP void walk_tile(const TileJob& job, void (*fill)(const TileJob&, int64_t, int, Panel&),
                                const Run& run) {
  constexpr int64_t kRows = kAtOnce * kPanelRows;
  clear_sums(job);
  Panel panels[kAtOnce];
  for (int64_t first = 0; first < job.n_columns; first += kPanelColumns) {
    const int64_t left = job.n_columns - first, n_columns = left < kPanelColumns ? left : kPanelColumns;
    for (int64_t row = 0; row < kTileRows; row += kRows) {
      for (int p = 0; p < kAtOnce; ++p) fill(job, first, static_cast<int>(row / kPanelRows) + p, panels[p]);
      const bool is_last = row + kRows == kTileRows;
      prefetch_rows(job, is_last ? 0 : row + kRows, kRows, is_last ? first + kPanelColumns : first);
      for_input_groups<kLargestGroup>(
          job, first / kPanelColumns,
          [&]<int N>(const std::byte* numbers, float* out, std::integral_constant<int, N> n)
              __attribute__((always_inline)) { run(panels, n_columns, numbers, out + row, n); });
    }
  }
}

}  // namespace sluice::kernels
