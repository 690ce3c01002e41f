// Matrices of F32, F16 and BF16 times many inputs, on tensor cores: the prefill path of formats that read their inputs as floats.
//
// A tile is that of gemm.cuh, 64 outputs by 32 inputs for each warp, and what it is made of and where it goes is the same. Weights and
// inputs are sums of pieces of 16 bits (float_pieces.cuh), whose products tensor cores make exactly and add in float32:
//
//            a weight is      an input is       products
//   F16      1 piece          2 pieces          2          of the input times a power of two
//   BF16     1                3                 3
//   F32      3                3                 6          of the 9; the others are below 2^-24 of it
//
// It goes along the columns in steps of 32:
//
//   device memory    floats as they lie                inputs
//                     | in the background, to where     | in the background, one step ahead
//                     | only the thread that copied     |
//   shared memory     | reads them                     inputs [32 a warp][32 columns], of the warp alone
//                     | split, a step ahead             | each lane loads what its fragments take, and splits it
//   shared memory    pieces [64 rows][32 columns]       |
//                     | ldmatrix                        |
//   registers        16 rows x 16 columns      times   8 inputs x 16 columns:  mma.sync
//
// So each weight is split once for all inputs of a tile and each input once for 64 outputs. Columns change places within 16, alike
// in weights and inputs, so that a lane's four of an input lie side by side:
//
//   column of the product   0  1  2  3  4  5  6  7 |  8  9 10 11 12 13 14 15
//   column of the matrix    0  1  4  5  8  9 12 13 |  2  3  6  7 10 11 14 15
//
// Tensor cores cut sums off where floats are rounded, always towards zero. A sum of thousands would show it, so that of 16 or 32
// columns begins with zero, small products first, and is added to the others by an ordinary addition.
//
// The power of two of F16 is the input's own: as its row is walked, whenever a value is too large for 16 bits, the power and what has
// been added so far become smaller. A value that is not small beside the largest of its row keeps 22 bits; one below 2^-17 of it errs by
// 2^-39 of the largest at most. (No other row has a part in this.)
//
// An output's bits depend on its row of the matrix and its input alone: steps are added in the order of the columns. What is not kept:
//
//   an input or weight that is not finite makes its outputs NaN where a sum of floats may be infinite
//   of BF16 and F32, so does a number above 3.39e38, which its first piece rounds up, and may a product that overflows
//   of BF16 and F32, numbers below 2^-110 keep fewer bits (pieces below 2^-126 may count as zeros)
#pragma once

#include "kernels/cuda/float_pieces.cuh"
#include "kernels/cuda/gemm_copies.cuh"
#include "kernels/cuda/gemm_float_layout.cuh"
#include "kernels/cuda/gemm_tile.cuh"

namespace sluice::kernels::cuda {

// Four floats or the first n of them in the background, at a multiple of 16, and zeros behind them. Of none `from` is not read.
__device__ inline void copy_four_floats(std::byte* shared, const float* from, int n) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(from), "r"(n * 4)
               : "memory");
#else
  float4 four{};
  if (n == 4) {
    four = *reinterpret_cast<const float4*>(from);
  } else {
    if (n > 0) four.x = from[0];
    if (n > 1) four.y = from[1];
    if (n > 2) four.z = from[2];
  }
  *reinterpret_cast<float4*>(shared) = four;
#endif
}

// The words from byte `head` on, below 16, in the first ones: 4 words less than there are.
template <int kWords>
__device__ inline void move_down(uint32_t (&words)[kWords], int head) {
#pragma unroll
  for (int i = 0; i + 2 < kWords; ++i) words[i] = head & 8 ? words[i + 2] : words[i];
#pragma unroll
  for (int i = 0; i + 3 < kWords; ++i) words[i] = head & 4 ? words[i + 1] : words[i];
#pragma unroll
  for (int i = 0; i + 4 < kWords; ++i) words[i] = __funnelshift_r(words[i], words[i + 1], (head & 3) * 8);
}

// Powers of two that bring inputs into the range of F16, by the exponent (as float32 has it) of the largest so far: to below 2^15.
__device__ inline uint32_t exponent_of(float magnitude) {
  return __float_as_uint(magnitude) >> 23;
}
constexpr uint32_t kLeastF16Exponent = 15;
__device__ inline float f16_power(uint32_t exponent) {
  return __uint_as_float((268 - exponent) << 23);
}
__device__ inline float f16_power_inverse(uint32_t exponent) {
  return __uint_as_float((exponent - 14) << 23);
}

template <class Family>
__device__ __forceinline__ void multiply_float_tile(const GemmArguments& a) {
  constexpr int kDown = kGemmRows / 16, kAcross = kGemmWarpInputs / 8;  // fragments of a warp
  constexpr int kHalves = kFloatStep / 16;                              // of a step, a matrix operation each
  constexpr int kBytes = Family::kBytes, kWeightPieces = Family::kWeightPieces, kInputPieces = Family::kInputPieces;
  constexpr int kRawPieces = float_raw_pieces(kBytes);

  extern __shared__ uint4 dynamic_shared[];
  __shared__ int input_rows[kGemmMostWarps * kGemmWarpInputs], output_rows[kGemmMostWarps * kGemmWarpInputs];
  std::byte* const shared = reinterpret_cast<std::byte*>(dynamic_shared);
  const int n_threads = blockDim.x;  // as many as the tile has inputs
  const FloatGemmLayout layout(n_threads, kBytes, kWeightPieces);
  const int lane = threadIdx.x % 32, group = lane / 4, member = lane % 4;
  const int first_input = threadIdx.x / 32 * kGemmWarpInputs;  // of the warp, in the tile

  GemmRows rows;
  if (!find_tile(a, rows, input_rows, output_rows)) return;
  __syncthreads();
  if (rows.first_matrix == nullptr) return store_absent(a, rows, input_rows, output_rows);
  const int n_steps = (a.n_columns + kFloatStep - 1) / kFloatStep;
  // A warp without inputs splits weights with the others, and no more.
  const bool is_busy = input_rows[first_input] >= 0;

  // The inputs of the warp. 16-byte piece p of a row lies where p ^ 4 would in every second one: a load's lanes read two rows at once.
  std::byte* const own_inputs = shared + layout.inputs + first_input * kFloatStep * 4;
  auto input_place = [](int row, int piece) { return row * kFloatStep * 4 + (piece ^ (row & 1) << 2) * 16; };
  const bool are_inputs_aligned = reinterpret_cast<uintptr_t>(a.values) % 16 == 0 && a.values_stride % 4 == 0;
  auto copy_inputs = [&](int step) {
    constexpr int kPieces = kFloatStep / 4, kRowsAtOnce = 32 / kPieces;  // a lane takes a piece of each of so many rows
    const int piece = lane % kPieces, column = step * kFloatStep + piece * 4;
    const int n_there = min(max(a.n_columns - column, 0), 4);
    const float* const from = a.values + column;
    if (are_inputs_aligned) {
#pragma unroll
      for (int row = lane / kPieces; row < kGemmWarpInputs; row += kRowsAtOnce) {
        const int input_row = input_rows[first_input + row];
        copy_four_floats(own_inputs + input_place(row, piece), from + max(input_row, 0) * a.values_stride,
                         input_row >= 0 ? n_there : 0);
      }
    } else {
#pragma unroll 1
      for (int row = lane / kPieces; row < kGemmWarpInputs; row += kRowsAtOnce) {
        const int input_row = input_rows[first_input + row];
#pragma unroll
        for (int i = 0; i < 4; ++i)
          copy_or_zeros<4>(own_inputs + input_place(row, piece) + i * 4, from + max(input_row, 0) * a.values_stride + i,
                           input_row >= 0 && i < n_there);
      }
    }
  };

  // A unit is 8 columns of a row of the matrix. What of it lies in memory from one multiple of 16 to another is for its thread alone.
  auto raw_place = [&](int unit, int piece) { return layout.raw + (piece * kFloatUnits + unit) * 16; };
  auto columns_there = [&](int row, int column) {
    return rows.output(row) < a.end_output ? min(a.n_columns - column, 8) : 0;
  };
  auto copy_weights = [&](int step) {
#pragma unroll 1
    for (int unit = threadIdx.x; unit < kFloatUnits; unit += n_threads) {
      const int row = unit / 4, column = step * kFloatStep + unit % 4 * 8, n_there = columns_there(row, column);
      if (n_there <= 0) continue;
      const std::byte* const matrix = rows.matrix_of(row);
      const std::byte* const begin = matrix + rows.output(row) * a.row_bytes + int64_t{column} * kBytes;
      const std::byte* const end = matrix + a.n_outputs * a.row_bytes;
      const int head = bytes_behind_16(begin);
#pragma unroll 1
      for (int piece = 0; piece * 16 < head + n_there * kBytes; ++piece) {
        const std::byte* const from = begin - head + piece * 16;
        std::byte* const to = shared + raw_place(unit, piece);
        if (from >= matrix && from + 16 <= end) {
          copy_16(to, from);
        } else {  // only what is ours
#pragma unroll 1
          for (int i = 0; i < 16; ++i) to[i] = from + i >= matrix && from + i < end ? from[i] : std::byte{0};
        }
      }
    }
  };
  auto split_weights = [&](int step) {
    std::byte* const weights = shared + layout.weights + step % 2 * kWeightPieces * kFloatTileBytes;
#pragma unroll 1
    for (int unit = threadIdx.x; unit < kFloatUnits; unit += n_threads) {
      const int row = unit / 4, column = step * kFloatStep + unit % 4 * 8, n_there = columns_there(row, column);
      uint32_t words[kRawPieces * 4] = {};
      if (n_there > 0) {
        const int head =
            static_cast<int>((static_cast<uint32_t>(reinterpret_cast<uintptr_t>(rows.matrix_of(row))) +
                              static_cast<uint32_t>(rows.output(row)) * static_cast<uint32_t>(a.row_bytes) +
                              static_cast<uint32_t>(column * kBytes)) &
                             15);
#pragma unroll
        for (int piece = 0; piece < kRawPieces; ++piece) {
          if (piece * 16 >= head + n_there * kBytes) continue;
          const uint4 four = *reinterpret_cast<const uint4*>(shared + raw_place(unit, piece));
          words[piece * 4] = four.x;
          words[piece * 4 + 1] = four.y;
          words[piece * 4 + 2] = four.z;
          words[piece * 4 + 3] = four.w;
        }
        if (head != 0) move_down(words, head);
        if (n_there < 8) {  // zeros behind the last column
#pragma unroll
          for (int i = 0; i < 2 * kBytes; ++i) {
            const int n_bytes = n_there * kBytes - i * 4;
            words[i] &= n_bytes >= 4 ? 0xFFFFFFFFu : n_bytes == 2 ? 0xFFFFu : 0u;
          }
        }
      }
      uint32_t pieces[kWeightPieces][4];  // of two columns each
      Family::split_weights(words, pieces);
#pragma unroll
      for (int p = 0; p < kWeightPieces; ++p) {
        std::byte* const to = weights + p * kFloatTileBytes + unit % 2 * 8;
        *reinterpret_cast<uint2*>(to + piece_at(row, unit % 4 / 2 * 2)) = make_uint2(pieces[p][0], pieces[p][2]);
        *reinterpret_cast<uint2*>(to + piece_at(row, unit % 4 / 2 * 2 + 1)) = make_uint2(pieces[p][1], pieces[p][3]);
      }
    }
  };

  constexpr int kTogether = Family::kHalvesTogether;  // halves whose pieces are in registers at once
  float sums[kDown][kAcross][4] = {};
  uint32_t exponents[kAcross];  // of the largest of input `group` of a fragment so far
#pragma unroll
  for (uint32_t& exponent : exponents) exponent = kLeastF16Exponent;
  // Of the input of a fragment that a sum's column is of, what the lanes of its group have.
  auto of_column = [&](float x, int c) { return __shfl_sync(0xFFFFFFFFu, x, (member * 2 + c) * 4); };

  // Makes powers, and the sums with them, as small as the inputs that have been loaded ask for.
  auto keep_in_range = [&](const float4(&four)[kAcross][kTogether]) {
    float largest[kAcross];
    bool has_grown = false;
#pragma unroll
    for (int j = 0; j < kAcross; ++j) {
      largest[j] = 0;
#pragma unroll
      for (const float4& f : four[j])
        largest[j] = fmaxf(largest[j], fmaxf(fmaxf(fabsf(f.x), fabsf(f.y)), fmaxf(fabsf(f.z), fabsf(f.w))));
      has_grown |= exponent_of(largest[j]) > exponents[j];
    }
    if (!__any_sync(0xFFFFFFFFu, has_grown)) return;
#pragma unroll
    for (int j = 0; j < kAcross; ++j) {
      float of_row = fmaxf(largest[j], __shfl_xor_sync(0xFFFFFFFFu, largest[j], 1));
      of_row = fmaxf(of_row, __shfl_xor_sync(0xFFFFFFFFu, of_row, 2));
      const uint32_t before = exponents[j];
      exponents[j] = max(before, exponent_of(of_row));
      const float shrink = __uint_as_float((127 - min(exponents[j] - before, 127u)) << 23);
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const float factor = of_column(shrink, c);
#pragma unroll
        for (int i = 0; i < kDown; ++i) {
          sums[i][j][c] *= factor;
          sums[i][j][2 + c] *= factor;
        }
      }
    }
  };

  // Where a lane's rows of the fragments begin, in a step's first half; the other is 2 pieces further, which exchanged are 32 bytes
  // further or back.
  const int weight_place = piece_at(lane % 16, lane / 16);
  auto multiply = [&](int step, int first, const float4(&four)[kAcross][kTogether]) {
    const uint32_t weights = shared_address(shared) + layout.weights + step % 2 * kWeightPieces * kFloatTileBytes;
    uint32_t x[kInputPieces][kAcross][kTogether][2];
#pragma unroll
    for (int j = 0; j < kAcross; ++j) {
      const float power = Family::kHasPowers ? f16_power(exponents[j]) : 1.0f;
#pragma unroll
      for (int half = 0; half < kTogether; ++half) {
        float4 f = four[j][half];
        if constexpr (Family::kHasPowers) f = make_float4(f.x * power, f.y * power, f.z * power, f.w * power);
#pragma unroll
        for (int p = 0; p < kInputPieces; ++p) {
          x[p][j][half][0] = Family::take_piece(f.x, f.y);
          x[p][j][half][1] = Family::take_piece(f.z, f.w);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
      uint32_t w[kWeightPieces][kTogether][4];
#pragma unroll
      for (int p = 0; p < kWeightPieces; ++p)
#pragma unroll
        for (int half = 0; half < kTogether; ++half)
          load_matrices(w[p][half],
                        weights + (weight_place ^ (first + half) * 32) + p * kFloatTileBytes + i * 16 * kFloatStep * 2);
      float own[kAcross][4] = {};
      // Pieces that are together as small, the smallest first.
#pragma unroll
      for (int order = kInputPieces - 1; order >= 0; --order)
#pragma unroll
        for (int p = 0; p < kWeightPieces; ++p) {
          if (p > order) continue;
#pragma unroll
          for (int half = 0; half < kTogether; ++half)
#pragma unroll
            for (int j = 0; j < kAcross; ++j)
              Family::multiply_add(own[j], w[p][half], x[order - p][j][half][0], x[order - p][j][half][1]);
        }
#pragma unroll
      for (int j = 0; j < kAcross; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) sums[i][j][e] += own[j][e];
    }
  };

  copy_inputs(0);
  copy_weights(0);
  close_copies();
  wait_for_copies<0>();
  split_weights(0);
  if (n_steps > 1) copy_weights(1);
  __syncthreads();
#pragma unroll 1
  for (int step = 0; step < n_steps; ++step) {
    close_copies();
    wait_for_copies<0>();
    __syncwarp();  // the copies of all lanes are there
    if (step + 1 < n_steps) split_weights(step + 1);
    if (step + 2 < n_steps) copy_weights(step + 2);
    if (is_busy) {
#pragma unroll 1
      for (int first = 0; first < kHalves; first += kTogether) {
        float4 four[kAcross][kTogether];  // columns of each input of the lane
#pragma unroll
        for (int j = 0; j < kAcross; ++j)
#pragma unroll
          for (int half = 0; half < kTogether; ++half)
            four[j][half] =
                *reinterpret_cast<const float4*>(own_inputs + input_place(j * 8 + group, (first + half) * 4 + member));
        if (first + kTogether == kHalves) {
          __syncwarp();  // all lanes have loaded
          if (step + 1 < n_steps) copy_inputs(step + 1);
        }
        if constexpr (Family::kHasPowers) keep_in_range(four);
        multiply(step, first, four);
      }
    }
    __syncthreads();
  }

  if (!is_busy) return;
  if constexpr (Family::kHasPowers) {
#pragma unroll
    for (int j = 0; j < kAcross; ++j)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const float factor = of_column(f16_power_inverse(exponents[j]), c);
#pragma unroll
        for (int i = 0; i < kDown; ++i) {
          sums[i][j][c] *= factor;
          sums[i][j][2 + c] *= factor;
        }
      }
  }
  static_assert(kGemmWarpInputs * kFloatStep >= kGemmStagedFloats);
  store_tile(a, rows, input_rows, output_rows, sums, reinterpret_cast<float*>(own_inputs));
}

// Before sm_80 there is nothing that multiplies bfloat16, and the host does not ask for it.
template <class Family>
__global__ void __launch_bounds__(kGemmMostWarps * 32, 1) multiply_float_tiles(const GemmArguments a) {
#if __CUDA_ARCH__ < 800
  if constexpr (Family::kLeastArchitecture <= 75)
#endif
    multiply_float_tile<Family>(a);
}

}  // namespace sluice::kernels::cuda
