// How products are cut into tiles: all that is a matter of judgement, apart from the kernels (kernels/cuda/gemm.cuh, gemm_floats.cuh).
#pragma once

#include <cstdint>

namespace sluice::kernels::cuda {

inline constexpr int kGemmRows = 64;        // outputs of a tile
inline constexpr int kGemmWarpInputs = 32;  // inputs of a warp, which multiplies all rows of its tile by them
inline constexpr int kGemmMostWarps = 8;    // of a thread block
inline constexpr int kGemmStep = 64;        // columns between two barriers, of codes

// What the shape depends on.
struct GemmWork {
  int64_t n_outputs = 0;  // that are made, of one matrix
  int64_t n_inputs = 0;   // of one matrix
  int64_t n_matrices = 1;
  int block_values = 0;
  int block_bytes = 0;
  int table_bytes = 0;
  bool reads_per_32 = false;
  int n_float_pieces = 0;         // as GemmFormat has it
  int64_t most_shared_bytes = 0;  // that the device gives a thread block
};

struct GemmShape {
  int n_warps = 0;
  int raw_columns = 0;  // of a row that are copied at a time; of floats these three are fixed (gemm_float_layout.cuh)
  int raw_bytes = 0;
  int raw_pitch = 0;  // bytes from one row's to the next's
  int64_t n_input_tiles = 0;
  int64_t n_row_tiles = 0;
  int shared_bytes = 0;
};
GemmShape gemm_shape(const GemmWork& work);

// The same for a given number of warps.
GemmShape gemm_shape_of_warps(const GemmWork& work, int n_warps);

}  // namespace sluice::kernels::cuda
