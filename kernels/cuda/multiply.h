// Products of matrices as GGUF has their blocks, quantised or of floats.
//
// With few inputs (GEMV, gemv.cuh: the decode path) they are bound by memory: what counts is that every byte of the weights is read
// once, in wide loads, with enough of them in flight; dp4a multiplies. With kGemmInputs and more (gemm.cuh, and gemm_floats.cuh for
// matrices of floats: the prefill path) all use tensor cores, but for those of F32 and BF16 on GPUs before sm_80.
//
// In both, sums within a block of the activation's form are whole numbers and exact, as on the CPU; blocks are added in float32: by
// GEMV in each lane and then by a fixed tree of lanes, by GEMM in the order of the columns. So a result does not depend on the rows or
// inputs that share a launch, with one exception: whether there are kGemmInputs of them decides the order of its float additions, and
// so its last bits. It differs from the CPU's by rounding only.
#pragma once

#include <cstdint>
#include <span>

#include "gguf/tensor_type.h"
#include "kernels/cuda/activations.h"
#include "kernels/cuda/launch.h"
#include "kernels/reference/rope.h"

namespace sluice::kernels::cuda {

// y = W x in this format is known.
bool can_multiply(gguf::TensorType type);

// A matrix [n_outputs, n_inputs] in device memory, in blocks as GGUF has them, at any address that is a multiple of 2 (of the
// element's size for F32, F16, BF16 and F64). Nothing past its last byte is read.
struct Matrix {
  gguf::TensorType type = gguf::TensorType::F32;
  const std::byte* data = nullptr;
  int64_t n_outputs = 0;
  int64_t n_inputs = 0;
  uint64_t row_bytes = 0;
  const float* bias = nullptr;  // [n_outputs] or null
};

// 8-bit forms of what a launch makes, made by the launch itself: the warp that stores the last output of a block of 256 quantises the
// block. For one input a matrix.
struct OutputForms {
  Activations to;  // `values` is the launch's output, and its columns are all of the row
  uint32_t* n_done =
      nullptr;  // device memory, n_output_blocks() of them: zeros before a launch, and after it; null: no forms are made
  int32_t* not_finite = nullptr;  // as quantize() has it
};
int64_t n_output_blocks(int64_t n_rows, int64_t n_columns);

// n_matrices equal matrices, matrix m lying m * matrix_stride bytes further on, each times its n_inputs_each inputs:
//
//   output[m, i, o] = matrix m's row o . input row (m * input_matrix_step + i * input_row_step)      (+ bias[o], for one matrix)
//
// output[m, i, o] lies at output + m * output_matrix_stride + i * output_stride + o.
struct MatrixProducts {
  Matrix matrix;
  int64_t n_matrices = 1;
  int64_t matrix_stride = 0;  // bytes
  Activations input;
  int64_t n_inputs_each = 1;
  int64_t input_matrix_step = 0;
  int64_t input_row_step = 1;
  float* output = nullptr;
  int64_t output_matrix_stride = 0;  // floats
  int64_t output_stride = 0;         // floats
  bool adds = false;                 // output += instead of output =
  OutputForms forms;                 // of the outputs of all matrices, side by side without gaps
};
void multiply(Launches& list, const MatrixProducts& products);

// Products of one input with single matrices, whatever their shapes, in one launch: up to kMostTogether of formats that
// can_multiply_together(). They have the input in common, and nothing else.
inline constexpr size_t kMostTogether = 3;
bool can_multiply_together(gguf::TensorType type);
void multiply_together(Launches& list, std::span<const MatrixProducts> products);

// hidden = silu(gate x) * (up x) and its forms, for one input; gate and up have one format and no bias.
void multiply_gated(Launches& list, const Matrix& gate, const Matrix& up, const Activations& input,
                    const OutputForms& hidden);

// Has the last launch of the list, if it is a product, note the moment at which it ends; else does nothing and returns false.
bool note_end(Launches& list, uint64_t* moment);

// Beside a product across rows, by thread blocks of the same launch: the heads of other columns, one for each matrix, are turned by their
// row's angles (rows.h) and stored elsewhere. Head m of row i lies at from + m * from_head_stride + i * from_stride. null: none.
struct TurnedHeads {
  const float* from = nullptr;
  int64_t from_head_stride = 0, from_stride = 0;
  float* to = nullptr;
  int64_t to_head_stride = 0, to_stride = 0;
  const float* cosines = nullptr;  // [n_inputs_each, n_pairs]
  const float* sines = nullptr;
  int64_t angles_stride = 0;
  int32_t n_pairs = 0;
  reference::RopePairs pairs{};
};

// Products across the rows of the blocks as they lie, never requantised (MLA's key part absorbed into the query):
//
//   output[m, i, c] = sum over o of input[m, i, o] * W_m[o, c]       input[m, i, o] lies at input + m * input_matrix_stride + i * input_stride + o
struct TransposedProducts {
  Matrix matrix;
  int64_t n_matrices = 1;
  int64_t matrix_stride = 0;  // bytes
  const float* input = nullptr;
  int64_t n_inputs_each = 1;
  int64_t input_matrix_stride = 0;
  int64_t input_stride = 0;
  float* output = nullptr;
  int64_t output_matrix_stride = 0;
  int64_t output_stride = 0;
  TurnedHeads turned;
};
void multiply_transposed(Launches& list, const TransposedProducts& products);

// Row i of output = row ids[i] of the table, dequantised; ids in device memory. Exactly the reference's values.
struct EmbeddingCall {
  Matrix table;
  const int32_t* ids = nullptr;
  int64_t n_rows = 0;
  float* output = nullptr;
  int64_t output_stride = 0;
};
void embed(Launches& list, const EmbeddingCall& call);

}  // namespace sluice::kernels::cuda
