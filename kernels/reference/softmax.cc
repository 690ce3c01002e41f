#include "kernels/reference/softmax.h"

#include <algorithm>
#include <cmath>

namespace sluice::kernels::reference {

void softmax(const float* x, int64_t n, float* out) {
  if (n == 0) return;
  const double max = *std::max_element(x, x + n);
  if (max == -INFINITY) {
    std::fill_n(out, n, 0.0f);
    return;
  }
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(x[i] - max);
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(std::exp(x[i] - max) / sum);
}

}  // namespace sluice::kernels::reference
