#include "kernels/reference/rms_norm.h"

#include <cmath>

namespace sluice::kernels::reference {

void rms_norm(const float* x, const float* weight, int64_t n_rows, int64_t n, float epsilon, float* out) {
  for (int64_t r = 0; r < n_rows; ++r, x += n, out += n) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += double{x[i]} * x[i];
    const float factor = static_cast<float>(1 / std::sqrt(sum / static_cast<double>(n) + epsilon));
    for (int64_t i = 0; i < n; ++i) out[i] = x[i] * factor * (weight != nullptr ? weight[i] : 1.0f);
  }
}

}  // namespace sluice::kernels::reference
