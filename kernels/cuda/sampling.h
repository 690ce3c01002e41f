// The likeliest tokens, found where the logits are, so that a handful of numbers crosses the bus and not a vocabulary.
#pragma once

#include <cstdint>

#include "kernels/cuda/launch.h"

namespace sluice::kernels::cuda {

inline constexpr int64_t kMostTopK = 256;

// The n_top largest of each row's n_columns logits in descending order, equal ones by ascending id, NaN last. ids and values [n_rows, n_top]. n_top from 1 (argmax) to
// kMostTopK, and at most n_columns. scratch: top_k_scratch_bytes(), device memory.
struct TopKCall {
  const float* logits = nullptr;
  int64_t stride = 0;
  int64_t n_rows = 0;
  int64_t n_columns = 0;
  int64_t n_top = 1;
  int32_t* ids = nullptr;
  float* values = nullptr;
  void* scratch = nullptr;
};
uint64_t top_k_scratch_bytes(int64_t n_rows, int64_t n_columns, int64_t n_top);
void top_k(Launches& list, const TopKCall& call);

}  // namespace sluice::kernels::cuda
