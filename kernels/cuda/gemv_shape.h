// How the rows of a product are shared among lanes, warps and thread blocks: all that is a matter of judgement, apart from the
// kernels.
#pragma once

#include <cstdint>

namespace sluice::kernels::cuda {

inline constexpr int kGemvWarps = 4;  // of a thread block, at most
inline constexpr int kGemvWarpsBesideTable = 8;
inline constexpr int kGemvSlots = 3;  // pieces in a warp's ring: one is decoded, the others are on their way
inline constexpr int kMostExpertsUsed = 64;

// A warp's piece, about. Two on their way and 16 warps are 72 KiB in flight on an SM, where 5 (RTX 4090) to 18 (H100) cover the
// latency at full bandwidth; the larger a piece, the less its turn of the loop costs. Formats with tables need their shared memory
// for these, and their blocks are small.
inline constexpr int kGemvPieceBytes = 2304;
inline constexpr int kGemvPieceBytesBesideTable = 1152;

// What the shape depends on.
struct GemvWork {
  int64_t n_outputs = 0;
  int64_t n_columns = 0;
  int64_t row_bytes = 0;
  int64_t n_matrices = 1;  // that are multiplied side by side (thread blocks in y and z)
  int64_t n_passes = 1;    // for an output row
  int block_values = 0;    // of the format
  int block_bytes = 0;
  int unit_values = 0;  // that a lane decodes at a time
  int table_bytes = 0;  // that each thread block fills first
};

struct GemvShape {
  int log2_lanes = 0;  // that share a row
  int units_a_row = 0;
  int units_a_piece = 0;  // in one slot of a row's ring
  int n_pieces = 0;       // a row
  int n_rounds = 0;       // rows one after another
  int piece_bytes = 0;
  int slot_bytes = 0;
  int n_warps = 0;  // a thread block
  int n_blocks = 0;
  int shared_bytes = 0;
};
GemvShape gemv_shape(const GemvWork& work);

}  // namespace sluice::kernels::cuda
