// Which experts a row goes to, by one thread block: by the rule and with the order and ties of kernels/reference/router.h.
// Exponentials and sums are in float64, as there, so that the same logits choose the same experts on every device.
#pragma once

#include <cfloat>

#include "kernels/cuda/block_sum.cuh"
#include "kernels/cuda/experts.h"

namespace sluice::kernels::cuda {

inline constexpr int kMostExperts = 1024;

struct RouteArguments {
  const float* logits;
  int64_t logits_stride;
  const float* bias;
  int32_t* ids;
  float* weights;
  int32_t n_experts;
  int32_t n_chosen;
  reference::Gating gating;
  reference::GroupScore group_score;
  int32_t n_groups;
  int32_t n_chosen_groups;
  float scale;
  int32_t normalize;
};

// A candidate: the larger score wins, the lower index among equals; index -1 is none.
struct Candidate {
  float score;
  int32_t index;
};
__device__ inline Candidate better(const Candidate& a, const Candidate& b) {
  if (a.index < 0) return b;
  if (b.index < 0) return a;
  if (a.score != b.score) return a.score > b.score ? a : b;
  return a.index < b.index ? a : b;
}
__device__ inline Candidate best_of_warp(Candidate own) {
  for (int distance = 16; distance > 0; distance /= 2) {
    const Candidate other{__shfl_xor_sync(0xFFFFFFFFu, own.score, distance),
                          __shfl_xor_sync(0xFFFFFFFFu, own.index, distance)};
    own = better(own, other);
  }
  return own;
}

// The best of `n` scores that are not taken, by the first warp; it is taken then.
__device__ inline int take_best(const float* scores, bool* taken, int n, int lane) {
  Candidate best{0, -1};
  for (int i = lane; i < n; i += 32)
    if (!taken[i]) best = better(best, {scores[i], i});
  best = best_of_warp(best);
  __syncwarp();
  if (lane == 0) taken[best.index] = true;
  __syncwarp();
  return best.index;
}

// The logits may have been stored by other thread blocks of the launch, so they are read past the first-level cache.
__device__ inline void route_row(const RouteArguments& a, int64_t row) {
  __shared__ double sums[32];
  __shared__ float largest_of_warps[32];
  __shared__ float probabilities[kMostExperts], scores[kMostExperts], group_scores[kMostExperts];
  __shared__ bool taken[kMostExperts], group_kept[kMostExperts];
  const float* const logits = a.logits + row * a.logits_stride;
  const auto logit = [&](int i) { return __ldcg(logits + i); };
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32, n_threads = blockDim.x;

  if (a.gating == reference::Gating::Softmax) {
    // The largest as std::max_element finds it: a NaN in the first place stays, others are passed over.
    float largest = isnan(logit(0)) ? logit(0) : -INFINITY;
    for (int i = thread; i < a.n_experts; i += n_threads) largest = logit(i) > largest ? logit(i) : largest;
    for (int distance = 16; distance > 0; distance /= 2) {
      const float other = __shfl_xor_sync(0xFFFFFFFFu, largest, distance);
      if (other > largest) largest = other;
    }
    if (lane == 0) largest_of_warps[warp] = largest;
    __syncthreads();
    largest = largest_of_warps[0];
    for (int w = 1; w < n_threads / 32; ++w)
      if (largest_of_warps[w] > largest) largest = largest_of_warps[w];
    const double max = largest;
    double sum = 0;
    for (int i = thread; i < a.n_experts; i += n_threads) sum += exp(logit(i) - max);
    sum = sum_of_block(sum, sums);
    for (int i = thread; i < a.n_experts; i += n_threads)
      probabilities[i] = largest == -INFINITY ? 0.0f : static_cast<float>(exp(logit(i) - max) / sum);
  } else {
    for (int i = thread; i < a.n_experts; i += n_threads)
      probabilities[i] = static_cast<float>(1 / (1 + exp(-static_cast<double>(logit(i)))));
  }
  for (int i = thread; i < a.n_experts; i += n_threads) {
    const float score = a.bias != nullptr ? probabilities[i] + a.bias[i] : probabilities[i];
    scores[i] = isnan(score) ? -INFINITY : score;
    taken[i] = false;
  }
  __syncthreads();
  if (a.n_groups > 1) {
    const int group_size = a.n_experts / a.n_groups;
    for (int g = thread; g < a.n_groups; g += n_threads) {
      float first = -INFINITY, second = -INFINITY;
      for (int i = g * group_size; i < (g + 1) * group_size; ++i) {
        if (scores[i] > first) {
          second = first;
          first = scores[i];
        } else if (scores[i] > second) {
          second = scores[i];
        }
      }
      group_scores[g] = a.group_score == reference::GroupScore::Max || group_size == 1 ? first : first + second;
      group_kept[g] = false;
    }
    __syncthreads();
    if (warp == 0)
      for (int i = 0; i < a.n_chosen_groups; ++i) take_best(group_scores, group_kept, a.n_groups, lane);
    __syncthreads();
    for (int i = thread; i < a.n_experts; i += n_threads) taken[i] = !group_kept[i / group_size];
    __syncthreads();
  }
  if (warp != 0) return;
  int32_t* const ids = a.ids + row * a.n_chosen;
  float* const weights = a.weights + row * a.n_chosen;
  double sum = 0;
  for (int i = 0; i < a.n_chosen; ++i) {
    const int expert = take_best(scores, taken, a.n_experts, lane);
    sum += static_cast<double>(probabilities[expert]);
    if (lane == 0) ids[i] = expert;
  }
  __syncwarp();
  const float divisor = a.normalize != 0 && sum != 0 ? static_cast<float>(sum) : 1.0f;
  for (int i = lane; i < a.n_chosen; i += 32) weights[i] = probabilities[ids[i]] / divisor * a.scale;
}

RouteArguments route_arguments(const RouterCall& call);

}  // namespace sluice::kernels::cuda
