// The one place that decides which instruction set the CPU kernels use.
#pragma once

#include "kernels/format.h"

namespace sluice::kernels {

// The best that this machine has and kernels are written for; SLUICE_ISA=reference in the environment forbids all
// others. Decided once.
Isa chosen_isa();

}  // namespace sluice::kernels
