// out[i] = exp(x[i] - max) / sum over j of exp(x[j] - max)
//
// Exponentials and sum are in double, rounded once. An entry of -infinity (masked) gives 0; a row that has nothing else
// gives zeros.
#pragma once

#include <cstdint>

namespace sluice::kernels::reference {

// x and out are [n] and may be the same.
void softmax(const float* x, int64_t n, float* out);

}  // namespace sluice::kernels::reference
