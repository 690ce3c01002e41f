// The arguments of the kernel of residual_norm_quantize(), for those who look at launches.
#pragma once

#include <cstdint>

#include "kernels/cuda/activations.h"

namespace sluice::kernels::cuda {

struct ResidualNormArguments {
  Activations to;
  float* x;
  int64_t x_stride;
  const float* change;
  int64_t change_stride;
  const float* change_too;
  int64_t change_too_stride;
  Answer answer;
  const float* weight;
  int32_t* not_finite;
  float epsilon;
  int32_t unused;
};

}  // namespace sluice::kernels::cuda
