// The chosen experts of a batch, each with the rows that chose it, and their products.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/forward/forward.h"

namespace sluice::engine {

// The (row, choice) pairs of a batch sorted by expert, so that each expert is read once.
struct ExpertGroups {
  std::vector<int32_t> expert_ids;  // distinct, ascending
  std::vector<int64_t> begin;       // of each expert's pairs in the sorted order
  std::vector<int64_t> n_rows;      // of each expert's pairs: the rows that chose it
  std::vector<int32_t> pair_rows;   // the row of each sorted pair
  std::vector<int32_t> places;      // where each pair (row-major) lies in the sorted order; 0 where it was left out
};

// ids: [rows, n_used]. Pairs whose bit k of left_out[row] is set are others' to multiply: they are in no group, and their weight must be 0.
// left_out may be empty.
ExpertGroups group_by_expert(std::span<const int32_t> ids, int64_t n_used, int64_t n_experts,
                             std::span<const uint32_t> left_out);

// out row i = sum over its pairs, in the router's order, of the pair's weight times down(silu(gate x_i) * up x_i), the experts as the
// request hands them out. weights: of all pairs, [rows, n_used], host memory.
void multiply_experts(const Processor& on, const ExpertGroups& groups, ExpertRequest& request, const Input& x,
                      std::span<const float> weights, int64_t n_used, Rows out);

}  // namespace sluice::engine
