// Products of a tile of weight rows with many inputs: the weights are decoded once into a panel that stays in the
// first-level cache, where all inputs meet it.
#pragma once

#include "kernels/cpu/dequantize.h"
#include "kernels/cpu/input_panels.h"
#include "kernels/format.h"
#include "kernels/resident.h"

namespace sluice::kernels {

struct TileJob {
  const Format* format = nullptr;
  Dequantize* dequantize = nullptr;  // of the format; read by multiply_tile_float
  UnpackCodes* unpack = nullptr;     // of the format; read by the others, but for resident forms
  // The weights: rows in blocks at any address, which may repeat, or groups of a resident form.
  const std::byte* rows[kTileRows] = {};
  const ResidentForm* form = nullptr;
  const std::byte* groups[kTileRows / kRowGroup] = {};
  ResidentForm::FillPanel* fill_panel = nullptr;  // of the form
  int64_t n_columns = 0;
  // Some groups of an InputPanels of the kernel's kind and the format's activations. Numbers of group g in block b stand at
  // inputs + b * input_block_bytes + g->first * bytes_an_input.
  const std::byte* inputs = nullptr;
  int64_t input_block_bytes = 0;
  int64_t bytes_an_input = 0;
  const InputPanels::Group* input_groups = nullptr;
  int64_t n_input_groups = 0;
  float* out = nullptr;  // [inputs of these groups, kTileRows]

  int64_t first_input() const { return input_groups[0].first; }
  int64_t n_inputs() const {
    const InputPanels::Group& last = input_groups[n_input_groups - 1];
    return last.first + last.size - first_input();
  }
};

using TileProduct = void(const TileJob& job);

// The kernels of a kind: null at Reference, which multiplies without tiles.
const ByIsa<TileProduct>& tile_products(TileKind kind);

#if defined(__x86_64__)
namespace avx2 {
// For unsigned codes (Coding::is_signed false): byte products summed in 16 bits as long as they cannot overflow.
TileProduct multiply_tile_narrow;
// For signed codes: 16-bit products.
TileProduct multiply_tile_wide;
// For rows that are dequantised, and inputs in float32.
TileProduct multiply_tile_float;
}  // namespace avx2
namespace avx512 {
TileProduct multiply_tile_narrow, multiply_tile_wide, multiply_tile_float;
}
namespace avx512_vnni {
TileProduct multiply_tile_narrow, multiply_tile_wide, multiply_tile_float;
}
#endif

}  // namespace sluice::kernels
