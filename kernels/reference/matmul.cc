#include "kernels/reference/matmul.h"

namespace sluice::kernels::reference {

void matmul(const float* a, const float* b, int64_t m, int64_t n, int64_t k, float* out) {
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t c = 0; c < k; ++c) sum += double{a[i * k + c]} * b[j * k + c];
      out[i * n + j] = static_cast<float>(sum);
    }
}

}  // namespace sluice::kernels::reference
