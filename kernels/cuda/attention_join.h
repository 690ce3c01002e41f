// The second launch of attention that is split along the context: of every row and head it joins what pieces of the context gave.
//
// A piece leaves so many floats in scratch, [row of the run, head, piece, ...], one run behind another:
//
//   value_size   the sums of values by the weights exp(score - the largest)
//   1            the largest score
//   1            the sum of the weights
//   0 to 7       unused, so that pieces begin at multiples of 32 bytes, as memory is written
//
// Joined they are sum over p of exp(largest_p - the largest of all) * sums_p, divided by the same of the sums of weights, in the order of the
// pieces. Of pieces in which the row sees nothing nothing is read; a row that sees nothing at all has zeros.
#pragma once

#include "kernels/cuda/attention.h"

namespace sluice::kernels::cuda {

constexpr int64_t attention_piece_floats(int64_t value_size) {
  return (value_size + 2 + 7) / 8 * 8;
}
// Of a run of n_rows rows.
constexpr int64_t attention_scratch_floats(int64_t n_rows, int64_t n_heads, int64_t value_size, int64_t n_pieces) {
  return n_rows * n_heads * n_pieces * attention_piece_floats(value_size);
}

// Consecutive rows of one sequence: all have the pages of the first. They may see different numbers of positions. Device memory.
struct AttentionRun {
  int32_t first_row = 0;
  int32_t n_rows = 0;
  // Of attention that is split:
  int32_t n_pieces = 1;     // at most, into which the context is cut
  int32_t first_piece = 0;  // in scratch, of the run's first row and head: so many pieces do the runs before it have
};

// Throws std::invalid_argument where forms are wanted that are of neither rows nor heads.
void check_forms(const AttentionCall& call);

// Writes call.out, and its forms where call has some. runs: device memory, of at most most_rows rows each; how their pieces lie is said in
// attention_pieces.cuh.
void join_runs(Launches& list, const AttentionCall& call, const AttentionRun* runs, int64_t n_runs, int64_t most_rows);
// The same of rows whose pieces are pages, with room for call.most_pieces of each.
void join_pages(Launches& list, const AttentionCall& call);

}  // namespace sluice::kernels::cuda
