// silu(x) = x / (1 + exp(-x)) in float32, within a few units in the last place of kernels/reference/swiglu.h.
#pragma once

namespace sluice::kernels::cuda {

// Written so that no intermediate overflows: for x < 0 as x e / (1 + e), e = exp(x); -infinity becomes 0.
__device__ inline float silu(float x) {
  if (x >= 0) return x / (1 + expf(-x));
  const float e = expf(x);
  return e == 0 ? 0.0f : x * e / (1 + e);
}

}  // namespace sluice::kernels::cuda
