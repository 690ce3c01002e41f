// The logistic function and the gate of feed-forward networks made of it (Shazeer 2020, "GLU Variants Improve
// Transformer").
//
//   sigmoid(x) = 1 / (1 + exp(-x))          silu(x) = x * sigmoid(x)          swiglu: out[i] = silu(gate[i]) * up[i]
//
// sigmoid and silu are computed in double and rounded once; swiglu's product is in float.
#pragma once

#include <cmath>
#include <cstdint>

namespace sluice::kernels::reference {

inline float sigmoid(float x) {
  return static_cast<float>(1 / (1 + std::exp(-double{x})));
}

inline float silu(float x) {
  if (x == -INFINITY) return 0;  // the limit, where the formula says -infinity * 0
  return static_cast<float>(x / (1 + std::exp(-double{x})));
}

// All [n]; out may be gate or up.
inline void swiglu(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = silu(gate[i]) * up[i];
}

}  // namespace sluice::kernels::reference
