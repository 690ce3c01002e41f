#include "kernels/cuda/gemm_shape.h"

#include "kernels/cuda/gemm_float_layout.cuh"
#include "kernels/cuda/gemm_layout.cuh"
#include "kernels/cuda/launches.h"

namespace sluice::kernels::cuda {

namespace {

// A tile of 256 inputs decodes each weight half as often as one of 128; but where there are fewer thread blocks than this, SMs
// would have nothing to do.
constexpr int64_t kEnoughBlocks = 128;

}  // namespace

GemmShape gemm_shape_of_warps(const GemmWork& work, int n_warps) {
  GemmShape shape;
  shape.n_warps = n_warps;
  shape.n_input_tiles = divide_up(work.n_inputs, n_warps * kGemmWarpInputs);
  shape.n_row_tiles = divide_up(work.n_outputs, kGemmRows);
  if (work.n_float_pieces > 0) {
    shape.shared_bytes = FloatGemmLayout(n_warps * kGemmWarpInputs, work.block_bytes, work.n_float_pieces).bytes;
    return shape;
  }
  shape.raw_columns = gemm_raw_columns(work.reads_per_32);
  shape.raw_bytes = shape.raw_columns / work.block_values * work.block_bytes;
  // Blocks of a multiple of 16 bytes are brought to multiples of 16; others begin up to 14 bytes behind one, of MXFP4 15. An odd
  // number of 16 bytes from row to row spreads the rows over the banks.
  const bool is_aligned = work.block_bytes % 16 == 0;
  shape.raw_pitch = static_cast<int>(divide_up(shape.raw_bytes + (is_aligned ? 0 : 15), 16)) * 16;
  if (shape.raw_pitch / 16 % 2 == 0) shape.raw_pitch += 16;
  shape.shared_bytes =
      GemmLayout(work.table_bytes, shape.raw_pitch, n_warps * kGemmWarpInputs, work.reads_per_32).bytes;
  return shape;
}

GemmShape gemm_shape(const GemmWork& work) {
  for (int n_warps = kGemmMostWarps; n_warps > 1; n_warps /= 2) {
    const GemmShape shape = gemm_shape_of_warps(work, n_warps);
    const bool is_filled = work.n_inputs > n_warps * kGemmWarpInputs / 2;
    const bool is_enough = shape.n_input_tiles * shape.n_row_tiles * work.n_matrices >= kEnoughBlocks;
    if (is_filled && is_enough && shape.shared_bytes <= work.most_shared_bytes) return shape;
  }
  return gemm_shape_of_warps(work, 1);
}

}  // namespace sluice::kernels::cuda
