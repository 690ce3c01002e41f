// The table of kernels that multiply, one row a format: each family of formats is compiled apart.
#pragma once

#include <vector>

#include "gguf/tensor_type.h"

namespace sluice::kernels::cuda {

struct GemvFormat {
  gguf::TensorType type;
  const char* name;       // of launches
  const void* one_input;  // kernels (kernels/cuda/gemv.cuh)
  const void* four_inputs;
  int block_values, block_bytes, unit_values, table_bytes;
};

void add_gemv_plain(std::vector<GemvFormat>& formats);
void add_gemv_q(std::vector<GemvFormat>& formats);
void add_gemv_k(std::vector<GemvFormat>& formats);
void add_gemv_small(std::vector<GemvFormat>& formats);
void add_gemv_iq1(std::vector<GemvFormat>& formats);
void add_gemv_iq2(std::vector<GemvFormat>& formats);
void add_gemv_iq3(std::vector<GemvFormat>& formats);
void add_gemv_iq4(std::vector<GemvFormat>& formats);

// Null for a format without one.
const GemvFormat* find_gemv_format(gguf::TensorType type);

}  // namespace sluice::kernels::cuda
