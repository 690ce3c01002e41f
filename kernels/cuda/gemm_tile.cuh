// What a tile (gemm.cuh, gemm_floats.cuh) is made of, and where its outputs go: the same for formats of codes and of floats, for single
// matrices and for experts.
#pragma once

#include "kernels/cuda/gemm_arguments.h"
#include "kernels/cuda/gemm_shape.h"
#include "kernels/cuda/silu.cuh"

namespace sluice::kernels::cuda {

// The rows of the matrices that a tile has.
struct GemmRows {
  const std::byte *first_matrix,
      *second_matrix;  // of the first n_each rows and of the others; null: the expert is not here
  int first_output;    // of the matrix's rows, that of the tile's first and (in GateUp) of its middle
  int n_each;          // rows of the tile that are of one matrix

  __device__ int output(int row) const { return first_output + (row < n_each ? row : row - n_each); }
  __device__ const std::byte* matrix_of(int row) const { return row < n_each ? first_matrix : second_matrix; }
};

// Every thread looks up one input, of as many as the tile has; -1: none. They are there behind the next barrier. False: the tile is empty.
__device__ inline bool find_tile(const GemmArguments& a, GemmRows& rows, int* input_rows, int* output_rows) {
  const int n_threads = blockDim.x;
  const bool is_fused = a.mode == GemmMode::GateUp;
  rows.n_each = is_fused ? kGemmRows / 2 : kGemmRows;
  rows.first_output = a.first_output + blockIdx.y * rows.n_each;
  int input_row = -1, output_row = 0;
  if (a.mode == GemmMode::Products) {
    const int input = blockIdx.x * n_threads + threadIdx.x;
    rows.first_matrix = rows.second_matrix = a.weights + blockIdx.z * a.matrix_stride;
    if (input < a.n_inputs) input_row = static_cast<int>(blockIdx.z * a.input_matrix_step + input * a.input_row_step);
    output_row = input;
  } else {
    if (static_cast<int>(blockIdx.x) >= *a.n_tiles) return false;
    const ExpertTile tile = a.tiles[blockIdx.x];
    const ExpertPlace place = a.places[tile.expert];
    rows.first_matrix = a.mode == GemmMode::Down ? place.down : a.mode == GemmMode::Up ? place.up : place.gate;
    rows.second_matrix = is_fused ? place.up : rows.first_matrix;
    if (threadIdx.x < tile.n_pairs) {
      output_row = a.order[tile.first + threadIdx.x];
      input_row = a.mode == GemmMode::Down ? output_row : output_row / a.n_used;
    }
  }
  input_rows[threadIdx.x] = input_row;
  output_rows[threadIdx.x] = output_row;
  return true;
}

// output + row of the matrix is where a product goes.
__device__ inline float* outputs_of(const GemmArguments& a) {
  return a.output + blockIdx.z * a.output_matrix_stride - a.first_output;
}

// An expert that is not here: zeros, or nothing where what it makes is not added.
__device__ inline void store_absent(const GemmArguments& a, const GemmRows& rows, const int* input_rows,
                                    const int* output_rows) {
  if (a.mode == GemmMode::Down) return;
  float* const output = outputs_of(a);
  const int n_threads = blockDim.x;
#pragma unroll 1
  for (int i = threadIdx.x; i < rows.n_each * n_threads; i += n_threads) {
    const int input = i / rows.n_each, row = rows.first_output + i % rows.n_each;
    if (input_rows[input] >= 0 && row < a.end_output) output[output_rows[input] * a.output_stride + row] = 0;
  }
}

// A warp's sums to where they belong: of fragment [down][across], as the matrix operations have them.
//
// By way of shared memory, so that what is done with a value stands once in the code, and neighbouring lanes store neighbours. `staged` is
// the warp's own, with room for 2 x 16 rows: of the tile's first half and those 32 further.
inline constexpr int kGemmStagedFloats = 2 * 16 * kGemmWarpInputs;
__device__ inline void store_tile(const GemmArguments& a, const GemmRows& rows, const int* input_rows,
                                  const int* output_rows, const float (&sums)[kGemmRows / 16][kGemmWarpInputs / 8][4],
                                  float* staged) {
  constexpr int kDown = kGemmRows / 16, kAcross = kGemmWarpInputs / 8, kStaged = kGemmStagedFloats / 2;
  static_assert(kGemmRows == 64);
  const int lane = threadIdx.x % 32, group = lane / 4, member = lane % 4;
  const int first_input = threadIdx.x / 32 * kGemmWarpInputs;
  float* const output = outputs_of(a);
  auto store = [&](int row, int input, float value) {  // of the tile
    const int at = rows.output(row);
    if (at >= a.end_output || input_rows[input] < 0) return;
    float& out = output[output_rows[input] * a.output_stride + at];
    if (a.mode == GemmMode::Up)
      out = silu(out) * value;
    else
      out = a.bias != nullptr ? value + a.bias[at] : value;
  };
#pragma unroll
  for (int i = 0; i < kDown / 2; ++i) {
    __syncwarp();
#pragma unroll
    for (int further = 0; further < 2; ++further)
#pragma unroll
      for (int j = 0; j < kAcross; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          staged[further * kStaged + (j * 8 + member * 2 + e % 2) * 16 + e / 2 * 8 + group] =
              sums[i + further * (kDown / 2)][j][e];
    __syncwarp();
#pragma unroll 1
    for (int at = lane; at < kStaged; at += 32) {
      const int input = first_input + at / 16, row = i * 16 + at % 16;
      if (a.mode == GemmMode::GateUp) {
        store(row, input, silu(staged[at]) * staged[kStaged + at]);
      } else {
        store(row, input, staged[at]);
        store(row + kGemmRows / 2, input, staged[kStaged + at]);
      }
    }
  }
}

}  // namespace sluice::kernels::cuda
