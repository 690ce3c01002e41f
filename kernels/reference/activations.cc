#include "kernels/reference/activations.h"

#include <algorithm>
#include <cmath>

namespace sluice::kernels::reference {

// Quantises one block to q. Returns its scale, or NaN when a value is not finite.
static float quantize_block(const float* values, int n_values, int8_t* q) {
  float amax = 0;
  for (int i = 0; i < n_values; ++i) {
    if (!std::isfinite(values[i])) return NAN;
    amax = std::max(amax, std::fabs(values[i]));
  }
  const float inverse = 127 / amax;
  if (!std::isfinite(inverse)) {
    std::fill_n(q, n_values, int8_t{0});
    return 0;
  }
  // nearbyint rounds halves to even in the default rounding mode, which nothing here changes.
  for (int i = 0; i < n_values; ++i) q[i] = static_cast<int8_t>(std::nearbyint(values[i] * inverse));
  return amax / 127;
}

bool quantize_per32(const float* values, int64_t n_values, Activation32* blocks) {
  for (int64_t i = 0; i < n_values / 32; ++i) {
    Activation32 block{};
    block.scale = quantize_block(values + i * 32, 32, block.q);
    if (std::isnan(block.scale)) return false;
    for (int8_t q : block.q) block.sum += q;
    blocks[i] = block;
  }
  return true;
}

bool quantize_per256(const float* values, int64_t n_values, Activation256* blocks) {
  for (int64_t i = 0; i < n_values / 256; ++i) {
    Activation256 block{};
    block.scale = quantize_block(values + i * 256, 256, block.q);
    if (std::isnan(block.scale)) return false;
    for (int v = 0; v < 256; ++v) block.sums[v / 16] = static_cast<int16_t>(block.sums[v / 16] + block.q[v]);
    blocks[i] = block;
  }
  return true;
}

}  // namespace sluice::kernels::reference
