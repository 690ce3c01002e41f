// out[m, n] = a[m, k] * b[n, k] transposed, all f32: out[i, j] = sum over c of a[i, c] * b[j, c], in double, in order,
// rounded once.
#pragma once

#include <cstdint>

namespace sluice::kernels::reference {

void matmul(const float* a, const float* b, int64_t m, int64_t n, int64_t k, float* out);

}  // namespace sluice::kernels::reference
