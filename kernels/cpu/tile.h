// Products of a tile of weight rows with many inputs: the weights are decoded once into a panel that stays in the
// first-level cache, where all inputs meet it.
#pragma once

#include "kernels/cpu/dequantize.h"
#include "kernels/format.h"
#include "kernels/resident.h"

namespace sluice::kernels {

struct TileJob {
  const Format* format = nullptr;
  Dequantize* dequantize = nullptr;  // of the format; read by multiply_tile_float
  // The weights: rows in blocks at any address, which may repeat, or groups of a resident form.
  const std::byte* rows[kTileRows] = {};
  const ResidentForm* form = nullptr;
  const std::byte* groups[kTileRows / kRowGroup] = {};
  int64_t n_columns = 0;
  // One pointer an input. What they point to depends on the kernel:
  const void* const* inputs = nullptr;         // Activation32 or Activation256 blocks, or floats
  const int16_t* const* wide_codes = nullptr;  // the codes of those blocks as 16-bit numbers, one after another
  int64_t n_inputs = 0;
  float* out = nullptr;  // [n_inputs, kTileRows]
};

using TileProduct = void(const TileJob& job);

#if defined(__x86_64__)
namespace avx2 {
// For unsigned codes (Coding::is_signed false): byte products summed in 16 bits as long as they cannot overflow.
TileProduct multiply_tile_narrow;
// For signed codes: 16-bit products. Reads wide_codes.
TileProduct multiply_tile_wide;
// For rows that are dequantised, and inputs in float32.
TileProduct multiply_tile_float;
}  // namespace avx2
#endif

}  // namespace sluice::kernels
