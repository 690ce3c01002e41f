// A layer's chosen experts for many rows, each expert's by tiles (kernels/cuda/gemm.cuh).
#pragma once

#include "kernels/cuda/experts.h"

namespace sluice::kernels::cuda {

// There is scratch for it, enough rows, and tiles for all three formats.
bool are_multiplied_by_tiles(const ExpertsCall& call);

// multiply_experts()'s checks have been made.
void append_expert_tiles(Launches& list, const ExpertsCall& call);

}  // namespace sluice::kernels::cuda
