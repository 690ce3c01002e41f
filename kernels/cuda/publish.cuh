// What publish_choice does on the device, by one thread block.
#pragma once

#include "kernels/cuda/meeting.h"

namespace sluice::kernels::cuda {

struct PublishArguments {
  MeetingPlaces to;
  const ExpertPlace* places;
  const int32_t* ids;
  const float* weights;
  const float* inputs;
  int64_t inputs_stride;
  const uint32_t* pass;
  const ExpertPlace* host_places;
  const uint32_t* n_from_host;
  ExpertPlace* chosen_places;
  int32_t n_rows;
  int32_t n_used;
  int64_t n_columns;
};

inline PublishArguments publish_arguments(const PublishCall& call) {
  return {call.to,
          call.places,
          call.ids,
          call.weights,
          call.inputs.data,
          call.inputs.stride,
          call.pass,
          call.host_places,
          call.n_from_host,
          call.chosen_places,
          static_cast<int32_t>(call.inputs.n_rows),
          static_cast<int32_t>(call.shape.n_used),
          call.shape.n_columns};
}

inline __device__ void publish(const PublishArguments& a) {
  const int thread = threadIdx.x, n_threads = blockDim.x;
  for (int i = thread; i < a.n_rows * a.n_used; i += n_threads) {
    a.to.ids[i] = a.ids[i];
    a.to.weights[i] = a.weights[i];
  }
  for (int row = thread; row < a.n_rows; row += n_threads) {
    uint32_t hits = 0;
    for (int k = 0; k < a.n_used; ++k)
      if (a.places[a.ids[row * a.n_used + k]].gate != nullptr) hits |= 1u << k;
    // Of the misses the first few are read where the host has them.
    uint32_t from_host = 0;
    if (a.n_from_host != nullptr) {
      uint32_t left = a.n_from_host[a.n_used - __popc(hits)];
      for (int k = 0; k < a.n_used && left > 0; ++k) {
        if ((hits >> k & 1u) != 0 || a.host_places[a.ids[row * a.n_used + k]].gate == nullptr) continue;
        from_host |= 1u << k;
        --left;
      }
    }
    if (a.chosen_places != nullptr)
      for (int k = 0; k < a.n_used; ++k) {
        const int32_t id = a.ids[row * a.n_used + k];
        a.chosen_places[row * a.n_used + k] = (from_host >> k & 1u) != 0 ? a.host_places[id] : a.places[id];
      }
    a.to.hits[row] = hits | from_host;
  }
  for (int row = 0; row < a.n_rows; ++row)
    for (int64_t c = thread; c < a.n_columns; c += n_threads)
      a.to.inputs[row * a.n_columns + c] = a.inputs[row * a.inputs_stride + c];
  // Before the host can know of this pass, so that what opens the gate comes after it.
  if (thread == 0) *a.to.gate = kGateClosed;
  // The barrier puts what all threads wrote before the fence of the one that publishes.
  __syncthreads();
  if (thread == 0) {
    const uint32_t pass = *a.pass;
    __threadfence_system();
    *const_cast<volatile uint32_t*>(a.to.published) = pass;
  }
}

}  // namespace sluice::kernels::cuda
