// The choice of experts for one row (kernels/reference/router.h), made for speed.
#pragma once

#include <cstdint>

#include "kernels/reference/router.h"

namespace sluice::kernels {

// As reference::route(), with the same choice and weights: probabilities are computed in double and rounded once by
// both.
void route_row(const reference::RouterRule& rule, const float* logits, const float* bias, int32_t* experts,
               float* weights);

}  // namespace sluice::kernels
