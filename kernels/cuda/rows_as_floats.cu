// Embeddings and products across rows: what reads matrices as dequantised floats.
#include <algorithm>

#include "kernels/cuda/dequantize.cuh"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/matrix_checks.h"
#include "kernels/cuda/multiply.h"

namespace sluice::kernels::cuda {

namespace {

struct EmbedArguments {
  const std::byte* table;
  const int32_t* ids;
  float* output;
  int64_t output_stride;
  int64_t row_bytes;
  int32_t n_columns;
  int32_t n_table_rows;
  gguf::TensorType type;
  int32_t unused;
};

// A thread takes eight columns of a row. An id that the table does not have gives zeros.
__global__ void __launch_bounds__(128) embed_rows(const EmbedArguments a) {
  const int64_t column = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * 8;
  if (column >= a.n_columns) return;
  const int32_t id = a.ids[blockIdx.y];
  const int n_values = static_cast<int>(min(int64_t{8}, a.n_columns - column));
  const bool is_there = id >= 0 && id < a.n_table_rows;
  const EightValues x =
      is_there ? dequantize_eight(a.type, a.table + id * a.row_bytes, column, n_values) : EightValues{};
  float* const out = a.output + blockIdx.y * a.output_stride + column;
#pragma unroll
  for (int i = 0; i < 8; ++i)
    if (i < n_values) out[i] = x.v[i];
}

constexpr int kInputsAcross = 4;  // that share the rows they read
constexpr int kWarpsAcross = 8;

struct AcrossArguments {
  const std::byte* weights;
  int64_t matrix_stride;
  const float* input;
  int64_t input_matrix_stride;
  int64_t input_stride;
  float* output;
  int64_t output_matrix_stride;
  int64_t output_stride;
  int64_t row_bytes;
  int32_t n_rows;
  int32_t n_columns;
  int32_t n_inputs;
  gguf::TensorType type;
  TurnedHeads turned;
};

// A thread takes a pair (kernels/cuda/rows.cu has the same in place).
__device__ void turn_heads(const TurnedHeads& turned, int64_t head, int first_input, int n_inputs) {
  const bool is_interleaved = turned.pairs == reference::RopePairs::Interleaved;
  for (int i = threadIdx.x; i < n_inputs * turned.n_pairs; i += blockDim.x) {
    const int pair = i % turned.n_pairs;
    const int64_t row = first_input + i / turned.n_pairs;
    const float* const from = turned.from + head * turned.from_head_stride + row * turned.from_stride;
    float* const to = turned.to + head * turned.to_head_stride + row * turned.to_stride;
    const int first = is_interleaved ? 2 * pair : pair, second = is_interleaved ? first + 1 : pair + turned.n_pairs;
    const float cosine = turned.cosines[row * turned.angles_stride + pair],
                sine = turned.sines[row * turned.angles_stride + pair];
    const float x = from[first], y = from[second];
    to[first] = x * cosine - y * sine;
    to[second] = x * sine + y * cosine;
  }
}

// A thread block takes 256 columns of a matrix: lane l of each warp the eight from 8l on, warp w every eighth row from w on. The
// sums of the warps are then added in order.
__global__ void __launch_bounds__(kWarpsAcross * 32, 2) multiply_across(const AcrossArguments a) {
  __shared__ float sums[kWarpsAcross][kInputsAcross][256 + 8];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t first_column = static_cast<int64_t>(blockIdx.x) * 256, column = first_column + lane * 8;
  const int first_input = blockIdx.y * kInputsAcross, n_inputs = min(kInputsAcross, a.n_inputs - first_input);
  if (first_column >= a.n_columns) return turn_heads(a.turned, blockIdx.z, first_input, n_inputs);
  const std::byte* const matrix = a.weights + blockIdx.z * a.matrix_stride;
  const float* const input = a.input + blockIdx.z * a.input_matrix_stride + first_input * a.input_stride;
  const int n_values = static_cast<int>(max(int64_t{0}, min(int64_t{8}, a.n_columns - column)));
  float sum[kInputsAcross][8] = {};
  if (n_values > 0) {
#pragma unroll 1
    for (int row = warp; row < a.n_rows; row += kWarpsAcross) {
      int64_t column_again =
          column;  // unknown to the compiler, which else keeps the places in the blocks of all formats
      asm volatile("" : "+l"(column_again));
      const EightValues w = dequantize_eight(a.type, matrix + row * a.row_bytes, column_again, n_values);
#pragma unroll
      for (int j = 0; j < kInputsAcross; ++j) {
        if (j >= n_inputs) continue;
        const float x = input[j * a.input_stride + row];
#pragma unroll
        for (int i = 0; i < 8; ++i) sum[j][i] = fmaf(x, w.v[i], sum[j][i]);
      }
    }
  }
#pragma unroll
  for (int j = 0; j < kInputsAcross; ++j)
#pragma unroll
    for (int i = 0; i < 8; ++i) sums[warp][j][i * 33 + lane] = sum[j][i];
  __syncthreads();
  const int own = threadIdx.x;  // of the 256 columns
  if (first_column + own >= a.n_columns) return;
  float* const output = a.output + blockIdx.z * a.output_matrix_stride + first_input * a.output_stride;
  for (int j = 0; j < n_inputs; ++j) {
    float total = 0;
    for (int w = 0; w < kWarpsAcross; ++w) total += sums[w][j][own % 8 * 33 + own / 8];
    output[j * a.output_stride + first_column + own] = total;
  }
}

}  // namespace

void embed(Launches& list, const EmbeddingCall& call) {
  check_matrix(call.table, true);
  require(call.ids != nullptr && call.output != nullptr, "An embedding needs ids and a place for its output.");
  const EmbedArguments a{call.table.data,
                         call.ids,
                         call.output,
                         call.output_stride,
                         static_cast<int64_t>(call.table.row_bytes),
                         static_cast<int32_t>(call.table.n_inputs),
                         static_cast<int32_t>(call.table.n_outputs),
                         call.table.type,
                         0};
  append_launch(list, "An embedding", reinterpret_cast<const void*>(embed_rows), "embed",
                {divide_up(call.table.n_inputs, 128 * 8), call.n_rows}, 128, 0, a);
}

void multiply_transposed(Launches& list, const TransposedProducts& products) {
  const Matrix& matrix = products.matrix;
  check_matrix(matrix, true);
  require(products.input != nullptr && products.output != nullptr, "A product across rows needs its input and output.");
  require(products.n_matrices <= 1 || products.matrix_stride % alignment_of(matrix.type) == 0,
          "Matrices that are multiplied side by side must lie a multiple of 2 bytes (of the element's size for floats) "
          "apart.");
  if (products.n_matrices <= 0 || products.n_inputs_each <= 0) return;
  const AcrossArguments a{matrix.data,
                          products.matrix_stride,
                          products.input,
                          products.input_matrix_stride,
                          products.input_stride,
                          products.output,
                          products.output_matrix_stride,
                          products.output_stride,
                          static_cast<int64_t>(matrix.row_bytes),
                          static_cast<int32_t>(matrix.n_outputs),
                          static_cast<int32_t>(matrix.n_inputs),
                          static_cast<int32_t>(products.n_inputs_each),
                          matrix.type,
                          products.turned};
  const TurnedHeads& turned = products.turned;
  const bool turns = turned.from != nullptr;
  require(!turns || (turned.to != nullptr && turned.to != turned.from && turned.cosines != nullptr &&
                     turned.sines != nullptr && turned.n_pairs > 0),
          "Heads are turned by angles, from one place to another.");
  append_launch(list, "A product across rows", reinterpret_cast<const void*>(multiply_across), "multiply across",
                {divide_up(matrix.n_inputs, 256) + (turns ? 1 : 0), divide_up(products.n_inputs_each, kInputsAcross),
                 products.n_matrices},
                kWarpsAcross * 32, 0, a);
}

}  // namespace sluice::kernels::cuda
