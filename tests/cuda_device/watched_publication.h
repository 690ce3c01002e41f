// A choice that is published while another thread block watches, as the host does: so the search for races within a launch judges the
// order in which it is written.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/meeting.h"

namespace sluice::tests {

// seen: device memory, as many words as `call` publishes: ids, weights, hits, inputs.
cudaError_t publish_while_watched(const kernels::cuda::PublishCall& call, uint32_t* seen);

}  // namespace sluice::tests
