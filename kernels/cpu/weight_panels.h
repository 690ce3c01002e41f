// How a tile of rows lies in panels: side by side, so that one vector holds the same four bytes (two 16-bit numbers) of
// many rows, and a step multiplies it by four (two) values of an input, broadcast from memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/tile.h"

namespace sluice::kernels {

inline constexpr int64_t kPanelRows = 16;
inline constexpr int kPanels = kTileRows / kPanelRows;  // in a tile, over the same columns

// 256 columns with unsigned codes: 6.5 KiB. The two of a tile and a group of inputs stay in 32 KiB of first-level cache.
struct NarrowPanel {
  alignas(64) uint8_t codes[64][kPanelRows][4];   // of four columns each
  alignas(64) int16_t scales[16][kPanelRows][2];  // a group_scale twice; groups of 32 columns use every other one
  alignas(64) int16_t mins[8][kPanelRows][2];     // group_mins of two neighbouring groups
  alignas(64) float scale[8][kPanelRows];
  alignas(64) float min[8][kPanelRows];
};

// 256 columns as 16-bit numbers: 8.5 KiB.
struct WidePanel {
  alignas(64) int16_t codes[128][kPanelRows][2];  // times the group's scale
  alignas(64) float scale[8][kPanelRows];
};

// 256 columns as floats, zeros after the end of a row: 16 KiB. Four rows lie together, eight columns of each.
struct FloatPanel {
  alignas(64) float values[kPanelRows / 4][kPanelColumns / 8][4][8];
};

// Fill panel `index` of a tile with columns from first_column on.
using FillNarrowPanel = void(const TileJob& job, int64_t first_column, int index, NarrowPanel& panel);
using FillWidePanel = void(const TileJob& job, int64_t first_column, int index, WidePanel& panel);
using FillFloatPanel = void(const TileJob& job, int64_t first_column, int index, FloatPanel& panel);
#if defined(__x86_64__)
namespace avx2 {
FillNarrowPanel fill_narrow_panel;
FillWidePanel fill_wide_panel;
FillFloatPanel fill_float_panel;
}  // namespace avx2
#endif

}  // namespace sluice::kernels
