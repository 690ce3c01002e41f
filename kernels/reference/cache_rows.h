// Rows of a KV cache to and from floats (kernels/cache_type.h has the layouts).
//
// F16 and BF16 round to the nearest, ties to even (kernels/reference/half.h). Q8_0, for a block with the largest
// magnitude amax, all in f32:
//
//   inverse = 127 / amax      scale = f16(amax / 127)      q = x * inverse to the nearest, ties to even
//
// with zeros where `inverse` is not finite. A block with an infinity or a NaN gets the scale NaN, so that the damage
// stays to be seen; a scale too large for f16 becomes infinite.
#pragma once

#include <cstdint>

#include "kernels/cache_type.h"

namespace sluice::kernels::reference {

// A row of n_columns values, written and read back.
void store_cache_row(CacheType type, const float* values, int64_t n_columns, void* row);
void load_cache_row(CacheType type, const void* row, int64_t n_columns, float* values);

}  // namespace sluice::kernels::reference
