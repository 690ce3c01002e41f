// A layer's chosen experts, all in one launch for gate, up and SwiGLU and one for down. Which experts they are is data in device
// memory, so a captured graph serves every token. For many rows: a launch that sorts, and then the same by tiles.
#pragma once

#include <cstdint>

#include "kernels/cuda/multiply.h"
#include "kernels/reference/router.h"

namespace sluice::kernels::cuda {

// Chooses experts by the rule of kernels/reference/router.h, with its order and its ties. logits [n_rows, n_experts] at
// `logits_stride` floats, bias [n_experts] or null; ids and weights [n_rows, n_chosen], device memory. At most 1024 experts.
struct RouterCall {
  reference::RouterRule rule{};
  const float* logits = nullptr;
  int64_t logits_stride = 0;
  int64_t n_rows = 0;
  const float* bias = nullptr;
  int32_t* ids = nullptr;
  float* weights = nullptr;
};
void route(Launches& list, const RouterCall& call);

// Where an expert's matrices lie; all null where it is not in this device's memory: it then adds nothing here.
struct ExpertPlace {
  const std::byte* gate = nullptr;
  const std::byte* up = nullptr;
  const std::byte* down = nullptr;
};

// out[i] = sum over k, in the router's order, of weights[i, k] * down_e (silu(gate_e x_i) * up_e x_i), e = ids[i, k]
struct ExpertsCall {
  Matrix gate, up, down;                // of one expert; `data` and `bias` are not used
  const ExpertPlace* places = nullptr;  // device memory, [n_experts]
  const int32_t* ids = nullptr;         // device memory, [n_rows, n_used]
  const float* weights = nullptr;       // the same
  int64_t n_used = 0;
  Activations input;  // n_rows rows
  // Scratch: n_rows * n_used rows of gate.n_outputs columns, with room for their forms as place_forms() lays them out.
  Activations hidden;
  float* output = nullptr;  // [n_rows, down.n_outputs]
  int64_t output_stride = 0;
  int32_t* not_finite = nullptr;
  // For many rows: pairs of a row and an expert are sorted by expert, and each expert's are multiplied by tiles (gemm_experts.cu). Scratch of
  // sorting_bytes(), device memory, 16-byte aligned; null: never. What `hidden` holds is then lost.
  int64_t n_experts = 0;  // that ids may name, at most 1024
  std::byte* sorting = nullptr;
  uint32_t* n_done =
      nullptr;  // of hidden's rows, as OutputForms has it; null: the forms of `hidden` cost a launch of their own
};
// 0 where so many rows are not worth sorting.
uint64_t sorting_bytes(int64_t n_experts, int64_t n_rows, int64_t n_used);
void multiply_experts(Launches& list, const ExpertsCall& call);

}  // namespace sluice::kernels::cuda
