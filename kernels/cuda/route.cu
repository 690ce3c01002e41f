// Which experts a row goes to: a thread block for a row, or behind the router's product in one launch with it.
#include "kernels/cuda/route.cuh"

#include "kernels/cuda/launches.h"

namespace sluice::kernels::cuda {

namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) route_rows(const RouteArguments a) {
  route_row(a, blockIdx.x);
}

}  // namespace

RouteArguments route_arguments(const RouterCall& call) {
  reference::check(call.rule);
  require(call.rule.n_experts <= kMostExperts, "A router on the GPU chooses among at most 1024 experts.");
  require(call.logits != nullptr && call.ids != nullptr && call.weights != nullptr,
          "A router needs logits and places for ids and weights in device memory.");
  return {call.logits,
          call.logits_stride,
          call.bias,
          call.ids,
          call.weights,
          static_cast<int32_t>(call.rule.n_experts),
          static_cast<int32_t>(call.rule.n_chosen),
          call.rule.gating,
          call.rule.group_score,
          static_cast<int32_t>(call.rule.n_groups),
          static_cast<int32_t>(call.rule.n_chosen_groups),
          call.rule.scale,
          call.rule.normalize ? 1 : 0};
}

void route(Launches& list, const RouterCall& call) {
  append_launch(list, "A router", reinterpret_cast<const void*>(route_rows), "route", {call.n_rows}, kThreads, 0,
                route_arguments(call));
}

}  // namespace sluice::kernels::cuda
