// Root mean square normalisation (Zhang and Sennrich 2019, "Root Mean Square Layer Normalization", equation 4):
//
//   out[r, i] = x[r, i] / sqrt(mean over i of x[r, i]^2 + epsilon) * weight[i]
//
// The mean and the root are taken in double; the factor 1/sqrt is rounded to float and both products are in float, from
// the left.
#pragma once

#include <cstdint>

namespace sluice::kernels::reference {

// x and out are [n_rows, n] and may be the same; weight is [n], or null for ones.
void rms_norm(const float* x, const float* weight, int64_t n_rows, int64_t n, float epsilon, float* out);

}  // namespace sluice::kernels::reference
