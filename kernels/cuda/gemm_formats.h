// The table of kernels that multiply tiles, one row a format. Formats whose scales come in alike share a kernel (gemm.cuh), which
// chooses the decoder as it runs: a tile's multiplication costs more than the choice, and the kernels are large.
#pragma once

#include <vector>

#include "gguf/tensor_type.h"

namespace sluice::kernels::cuda {

struct GemmFormat {
  gguf::TensorType type;
  const char* name;    // of launches
  const void* kernel;  // kernels/cuda/gemm.cuh
  int block_values, block_bytes, table_bytes;
  bool reads_per_32;
  bool has_offsets;
};

void add_gemm_whole(std::vector<GemmFormat>& formats);
void add_gemm_scaled(std::vector<GemmFormat>& formats);
void add_gemm_blocks(std::vector<GemmFormat>& formats);

// Null for a format without one: floats. Their inputs are floats too, and an input rounded to the 11 bits of a half or of TF32 would
// lose what F16 and BF16 matrices are kept for (routers, norms, small models); exactness in parts takes three operations or more, and
// such matrices are few in a quantised model. They are multiplied by gemv.cuh.
const GemmFormat* find_gemm_format(gguf::TensorType type);

}  // namespace sluice::kernels::cuda
