#include "kernels/cuda/attention_join.h"

#include <cfloat>

#include "kernels/cuda/attention_pieces.cuh"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/quantize.cuh"

namespace sluice::kernels::cuda {

namespace {

constexpr int kJoined = 256;  // columns that a thread block joins

struct JoinArguments {
  const AttentionRow* rows;
  const AttentionRun* runs;
  const float* scratch;
  float* out;
  int64_t out_stride;
  int64_t part_columns;  // of a row of the forms
  int32_t page_positions;
  int32_t most_pieces;  // of a row without a run
  int32_t blocks_a_part;
  int32_t n_heads;
  int32_t value_size;
  int32_t piece_floats;
  Activations forms;
  int32_t* not_finite;
};

// A thread block takes 256 columns of a row of the forms, blockIdx.x counts those of one row of attention; blockIdx.y is that row of the run
// that blockIdx.z is.
__global__ void __launch_bounds__(kJoined) join_pieces(const JoinArguments a) {
  __shared__ __align__(16) float joined[kJoined];
  AttentionRun run{static_cast<int32_t>(blockIdx.y), 1, a.most_pieces,
                   static_cast<int32_t>(blockIdx.y) * a.n_heads * a.most_pieces};
  int piece_positions = a.page_positions, row_of_run = 0;
  if (a.runs != nullptr) {
    run = a.runs[blockIdx.z];
    row_of_run = static_cast<int>(blockIdx.y);
    if (row_of_run >= run.n_rows) return;
    piece_positions = positions_of_piece(a.rows, run, a.page_positions);
  }
  const int64_t row = run.first_row + row_of_run, part = blockIdx.x / a.blocks_a_part;
  const int block = blockIdx.x % a.blocks_a_part, column_of_part = block * kJoined + threadIdx.x;
  float result = 0;
  if (column_of_part < a.part_columns) {
    const int64_t column = part * a.part_columns + column_of_part;
    const int n_visible = static_cast<int>(a.rows[row].n_visible);
    const int n_pieces = min(run.n_pieces, (n_visible + piece_positions - 1) / piece_positions);
    const int64_t piece_floats = a.piece_floats;
    const int64_t head = row_of_run * int64_t{a.n_heads} + column / a.value_size;
    const float* const pieces = a.scratch + (int64_t{run.first_piece} + head * run.n_pieces) * piece_floats;
    const float* const own = pieces + column % a.value_size;
    const float* const largest_of = pieces + a.value_size;
    float largest = -FLT_MAX;
#pragma unroll 4
    for (int64_t p = 0; p < n_pieces; ++p) largest = fmaxf(largest, largest_of[p * piece_floats]);
    float total = 0, sum = 0;
#pragma unroll 4
    for (int64_t p = 0; p < n_pieces; ++p) {
      const float* const of_piece = largest_of + p * piece_floats;
      const float weight = expf(of_piece[0] - largest);
      total = fmaf(weight, of_piece[1], total);
      sum = fmaf(weight, own[p * piece_floats], sum);
    }
    result = n_pieces > 0 ? sum / total : 0.0f;
    a.out[row * a.out_stride + column] = result;
  }
  if (a.forms.values == nullptr) return;
  joined[threadIdx.x] = result;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  const int64_t n_parts = gridDim.x / a.blocks_a_part;
  write_forms(a.forms, row * n_parts + part, block, load_eight(joined, threadIdx.x * 8, kJoined), a.not_finite);
}

int64_t n_parts_of(const AttentionCall& call) {
  return call.forms.values != nullptr && call.forms.n_columns == call.value_size ? call.n_heads : 1;
}

void append_join(Launches& list, const AttentionCall& call, const AttentionRun* runs, int64_t n_runs,
                 int64_t most_rows) {
  const int64_t n_parts = n_parts_of(call), part_columns = call.n_heads * call.value_size / n_parts;
  const int64_t blocks_a_part = divide_up(part_columns, kJoined);
  const JoinArguments arguments{call.rows,
                                runs,
                                call.scratch,
                                call.out,
                                call.out_stride,
                                part_columns,
                                static_cast<int32_t>(call.page_positions),
                                static_cast<int32_t>(call.most_pieces),
                                static_cast<int32_t>(blocks_a_part),
                                static_cast<int32_t>(call.n_heads),
                                static_cast<int32_t>(call.value_size),
                                static_cast<int32_t>(attention_piece_floats(call.value_size)),
                                call.forms,
                                call.not_finite};
  append_launch(list, "Attention", reinterpret_cast<const void*>(join_pieces), "join attention",
                {n_parts * blocks_a_part, most_rows, n_runs}, kJoined, 0, arguments);
}

}  // namespace

void check_forms(const AttentionCall& call) {
  const int64_t n_parts = n_parts_of(call);
  require(call.forms.values == nullptr ||
              (call.forms.values == call.out && call.forms.n_columns * n_parts == call.n_heads * call.value_size &&
               call.forms.n_rows == call.n_rows * n_parts && call.not_finite != nullptr &&
               (n_parts == 1 || call.n_rows <= 1 || call.out_stride == call.n_heads * call.value_size)),
          "The forms of what attention gives are of its rows, or of a row for each head.");
}

void join_runs(Launches& list, const AttentionCall& call, const AttentionRun* runs, int64_t n_runs, int64_t most_rows) {
  append_join(list, call, runs, n_runs, most_rows);
}

void join_pages(Launches& list, const AttentionCall& call) {
  append_join(list, call, nullptr, 1, call.n_rows);
}

}  // namespace sluice::kernels::cuda
