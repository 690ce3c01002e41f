#include "kernels/cuda/gemv_shape.h"

#include <algorithm>

#include "kernels/cuda/launches.h"

namespace sluice::kernels::cuda {

namespace {

constexpr int64_t kEnoughWarps = 4096;   // keep any GPU of today busy
constexpr int64_t kStreamBytes = 32768;  // a warp that reads so much has paid for its start

// The most lanes that do not idle in more than an eighth of a row's steps. Where blocks have several units this never cuts one.
int log2_lanes_of(int64_t units_a_row) {
  for (int log2 = 5; log2 > 0; --log2) {
    const int64_t lanes = int64_t{1} << log2;
    if (units_a_row * 8 >= divide_up(units_a_row, lanes) * lanes * 7) return log2;
  }
  return 0;
}

}  // namespace

GemvShape gemv_shape(const GemvWork& work) {
  GemvShape shape;
  const int64_t units_a_row = divide_up(work.n_columns, work.unit_values);
  shape.units_a_row = static_cast<int>(units_a_row);
  shape.log2_lanes = log2_lanes_of(units_a_row);
  const int64_t lanes = int64_t{1} << shape.log2_lanes, n_groups = 32 / lanes;

  // A piece is some steps of the group, and whole blocks.
  const int64_t units_a_block = std::max(1, work.block_values / work.unit_values);
  const int64_t unit_bytes_times_units = int64_t{work.block_bytes} * std::max(1, work.unit_values / work.block_values);
  auto bytes_of = [&](int64_t units) { return divide_up(units * unit_bytes_times_units, units_a_block); };
  const int64_t piece_bytes = work.table_bytes > 0 ? kGemvPieceBytesBesideTable : kGemvPieceBytes;
  int64_t steps = std::max<int64_t>(1, piece_bytes / n_groups / std::max<int64_t>(1, bytes_of(lanes)));
  steps = std::min(steps, divide_up(units_a_row, lanes));
  while (steps * lanes % units_a_block != 0) ++steps;
  shape.units_a_piece = static_cast<int>(steps * lanes);
  shape.piece_bytes = static_cast<int>(bytes_of(steps * lanes));
  shape.n_pieces = static_cast<int>(divide_up(units_a_row, shape.units_a_piece));
  shape.slot_bytes = static_cast<int>(divide_up(std::min<int64_t>(shape.piece_bytes, work.row_bytes) + 15, 16) * 16);

  const int64_t most_rounds = std::max<int64_t>(1, kStreamBytes / (n_groups * work.row_bytes * work.n_passes));
  const int64_t rounds_for_enough = work.n_outputs * work.n_matrices / n_groups / kEnoughWarps;
  shape.n_rounds = static_cast<int>(std::clamp<int64_t>(rounds_for_enough, 1, most_rounds));
  const int64_t n_warps = divide_up(work.n_outputs, n_groups * shape.n_rounds);
  shape.n_warps =
      static_cast<int>(std::min<int64_t>(n_warps, work.table_bytes > 0 ? kGemvWarpsBesideTable : kGemvWarps));
  shape.n_blocks = static_cast<int>(divide_up(n_warps, shape.n_warps));
  shape.shared_bytes = work.table_bytes + shape.n_warps * kGemvSlots * static_cast<int>(n_groups) * shape.slot_bytes;
  return shape;
}

}  // namespace sluice::kernels::cuda
