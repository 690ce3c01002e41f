// The likeliest tokens: thread blocks sort stretches of 1024 candidates and keep the best of each, again and again, until one is left.
//
// A candidate is one 64-bit number, so sorting is comparing numbers: the float's bits in an order that integers have, and below them
// the id, counted down. Equal logits (0 and -0 too) then come by ascending id, and NaN comes last.
#include "kernels/cuda/sampling.h"

#include "kernels/cuda/launches.h"

namespace sluice::kernels::cuda {

namespace {

constexpr int kStretch = 1024;
constexpr int kThreads = 512;

struct TopKArguments {
  const float* logits;
  int64_t stride;
  const uint64_t* from;  // null: the logits
  uint64_t* to;          // null: ids and values
  int32_t* ids;
  float* values;
  int64_t n_from;  // candidates a row
  int64_t n_to;
  int64_t n_top;
};

__device__ uint64_t candidate_of(float logit, uint32_t id) {
  const uint32_t bits = __float_as_uint(logit == 0 ? 0.0f : logit);
  const uint32_t ordered = isnan(logit) ? 0 : (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(ordered) << 32 | (0xFFFFFFFFu - id);
}
constexpr uint64_t kNone = 0;  // below every candidate: ids are less than 2^32 - 1

// blockIdx: stretch, row.
__global__ void __launch_bounds__(kThreads) keep_best(const TopKArguments a) {
  __shared__ uint64_t best[kStretch];
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kStretch, row = blockIdx.y;
  const float* const logits = a.logits + row * a.stride;
  for (int i = threadIdx.x; i < kStretch; i += kThreads) {
    const int64_t at = first + i;
    best[i] = at >= a.n_from      ? kNone
              : a.from != nullptr ? a.from[row * a.n_from + at]
                                  : candidate_of(logits[at], static_cast<uint32_t>(at));
  }
  // Bitonic sort, descending.
  for (int size = 2; size <= kStretch; size *= 2)
    for (int distance = size / 2; distance > 0; distance /= 2) {
      __syncthreads();
      for (int pair = threadIdx.x; pair < kStretch / 2; pair += kThreads) {
        const int low = pair / distance * distance * 2 + pair % distance, high = low + distance;
        const bool descends = (low & size) == 0;
        const uint64_t x = best[low], y = best[high];
        if ((x < y) == descends) {
          best[low] = y;
          best[high] = x;
        }
      }
    }
  __syncthreads();
  for (int64_t i = threadIdx.x; i < a.n_top; i += kThreads) {
    if (a.to != nullptr) {
      const int64_t at = blockIdx.x * a.n_top + i;
      if (at < a.n_to) a.to[row * a.n_to + at] = best[i];
    } else {
      const uint32_t id = 0xFFFFFFFFu - static_cast<uint32_t>(best[i]);
      a.ids[row * a.n_top + i] = static_cast<int32_t>(id);
      a.values[row * a.n_top + i] = logits[id];
    }
  }
}

// Candidates that a stretch after stretch of n leaves.
int64_t candidates_left(int64_t n, int64_t n_top) {
  const int64_t last = n % kStretch;
  return n / kStretch * n_top + (last < n_top ? last : n_top);
}

}  // namespace

uint64_t top_k_scratch_bytes(int64_t n_rows, int64_t n_columns, int64_t n_top) {
  // Two areas in turn: the first is the largest.
  return static_cast<uint64_t>(n_rows * 2 * candidates_left(n_columns, n_top)) * sizeof(uint64_t);
}

void top_k(Launches& list, const TopKCall& call) {
  require(call.n_columns > 0 && call.n_columns <= 0x7FFFFFFF,
          "The likeliest of no token, or of more than 2147483647, cannot be found.");
  require(call.n_top >= 1 && call.n_top <= kMostTopK && call.n_top <= call.n_columns,
          "The likeliest tokens that are asked for must be 1 to 256, and no more than there are.");
  require(call.logits != nullptr && call.ids != nullptr && call.values != nullptr && call.scratch != nullptr,
          "Finding the likeliest tokens needs logits, scratch, and places for ids and values in device memory.");
  auto* const area = static_cast<uint64_t*>(call.scratch);
  uint64_t* const other_area = area + call.n_rows * candidates_left(call.n_columns, call.n_top);
  TopKArguments a{call.logits, call.stride, nullptr, nullptr, call.ids, call.values, call.n_columns, 0, call.n_top};
  for (uint64_t* to = area;; to = to == area ? other_area : area) {
    const int64_t n_stretches = divide_up(a.n_from, kStretch);
    a.n_to = candidates_left(a.n_from, call.n_top);
    a.to = n_stretches > 1 ? to : nullptr;
    append_launch(list, "Finding the likeliest tokens", reinterpret_cast<const void*>(keep_best), "top k",
                  {n_stretches, call.n_rows}, kThreads, 0, a);
    if (n_stretches == 1) return;
    a.from = to;
    a.n_from = a.n_to;
  }
}

}  // namespace sluice::kernels::cuda
