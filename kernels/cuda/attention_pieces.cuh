// Where the pieces of a run's context begin and end, as the launch that makes them and the one that joins them read it from device memory:
// the context grows from token to token, and launches stay as they are.
#pragma once

#include "kernels/cuda/attention_join.h"

namespace sluice::kernels::cuda {

// Of each piece but the last, which goes on to where its rows see no further: whole pages, so many that the pieces reach as far as the run's last
// row sees, at least one.
__device__ inline int positions_of_piece(const AttentionRow* rows, const AttentionRun& run, int page_positions) {
  const int n_visible = static_cast<int>(rows[run.first_row + run.n_rows - 1].n_visible);
  const int n_pages = (n_visible + page_positions - 1) / page_positions;
  return max(1, (n_pages + run.n_pieces - 1) / run.n_pieces) * page_positions;
}

}  // namespace sluice::kernels::cuda
