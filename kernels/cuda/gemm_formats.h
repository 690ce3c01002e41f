// The table of kernels that multiply tiles, one row a format. Formats whose scales come in alike share a kernel (gemm.cuh), which
// chooses the decoder as it runs: a tile's multiplication costs more than the choice, and the kernels are large.
#pragma once

#include <vector>

#include "gguf/tensor_type.h"

namespace sluice::kernels::cuda {

struct GemmFormat {
  gguf::TensorType type;
  const char* name;    // of launches
  const void* kernel;  // kernels/cuda/gemm.cuh, of floats gemm_floats.cuh
  int block_values = 0, block_bytes = 0, table_bytes = 0;
  bool reads_per_32 = false;
  bool has_offsets = false;
  int n_float_pieces = 0;       // of a weight, where the input is read as floats
  int least_architecture = 75;  // 75 is sm_75
};

void add_gemm_whole(std::vector<GemmFormat>& formats);
void add_gemm_scaled(std::vector<GemmFormat>& formats);
void add_gemm_blocks(std::vector<GemmFormat>& formats);
void add_gemm_floats(std::vector<GemmFormat>& formats);

// Null for a format without one on the current device: F32 and BF16 before sm_80, which gemv.cuh multiplies. This is where that is known.
const GemmFormat* find_gemm_format(gguf::TensorType type);

}  // namespace sluice::kernels::cuda
