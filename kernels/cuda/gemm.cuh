// Matrices in GGUF blocks times many inputs, on tensor cores: the skeleton that all formats share. The prefill path.
//
// A thread block makes a tile: 64 outputs (rows of the matrix) by 32 inputs for each of its warps. It goes along the columns in steps
// of 64:
//
//   device memory    blocks as they lie              codes of the input
//                     | in the background, two        | in the background, one step ahead
//   shared memory    raw [64 rows][256 columns]      inputs [32 a warp][64 columns]
//                     | decoded once, a step ahead    |
//   shared memory    weights [64 rows][64 columns], signed bytes, with their scales
//                     | ldmatrix                      | ldmatrix
//   registers        16 rows x 32 columns     times  8 inputs x 32 columns:  mma.sync, whole numbers, exact
//
// So each weight is decoded once for all inputs of the tile, and while some warps decode the next step the others keep the tensor
// cores busy: of 8 warps 4 decode in even steps and 4 in odd ones, one of each SM partition.
//
// How scales come in is what families of formats differ by:
//
//   256 values a scale   the scale of a sub-block is multiplied into the codes (IQ1_S, Q2_K, Q3_K), or there is none (TQ1_0, TQ2_0,
//                        Q8_K); the tensor cores add all 256 columns
//   32, 16 values        the sub-block's whole number is multiplied by its scale and added as a whole number
//   32, 16, floats       formats that read their input per 32 values: float scales
//
// Offsets (mins, and IQ1_S's delta) are multiplied by the sums of 16 codes of the input. Both are whole numbers that a half holds
// exactly, and there are 16 of them in 256 columns, so one operation of the tensor cores on halves adds them, exactly.
//
// Blocks are added in the order of the columns, in float32. So an output's bits do not depend on the tile, on other rows or on other
// inputs; they differ from those of gemv.cuh by the order of float additions only.
#pragma once

#include "kernels/cuda/gemm_copies.cuh"
#include "kernels/cuda/gemm_unit.cuh"
#include "kernels/cuda/matrix_fragments.cuh"

namespace sluice::kernels::cuda {

template <class Family>
__global__ void __launch_bounds__(kGemmMostWarps * 32, 1) multiply_tiles(const GemmArguments a) {
  constexpr bool kIsPer32 = Family::kIsPer32;
  constexpr int kScaleValues = Family::kScaleValues;
  constexpr int kRawColumns = gemm_raw_columns(kIsPer32), kStepsARaw = kRawColumns / kGemmStep;
  constexpr int kDown = kGemmRows / 16, kAcross = kGemmWarpInputs / 8;  // fragments of a warp
  // A whole number below 2^22 added to the bits of 1.5 * 2^23 is a float that much above it: sums that stay so small begin there and
  // need no conversion. The largest are those of Q3_K and Q8_K, 256 * 128 * 127.
  constexpr float kMagic = 12582912.0f;
  constexpr int kMagicBits = 0x4B400000;
  constexpr bool kIsMagic = kScaleValues == 256;

  extern __shared__ uint4 dynamic_shared[];
  __shared__ int input_rows[kGemmMostWarps * kGemmWarpInputs], output_rows[kGemmMostWarps * kGemmWarpInputs];
  std::byte* const shared = reinterpret_cast<std::byte*>(dynamic_shared);
  const uint32_t* const table = reinterpret_cast<const uint32_t*>(shared);
  const int n_threads = blockDim.x;  // as many as the tile has inputs
  const GemmLayout layout(a.table_bytes, a.raw_pitch, n_threads, kIsPer32);
  const int lane = threadIdx.x % 32, group = lane / 4, member = lane % 4;
  const int first_input = threadIdx.x / 32 * kGemmWarpInputs;  // of the warp, in the tile

  GemmRows rows;
  if (!find_tile(a, rows, input_rows, output_rows)) return;
  Family::fill_table(a.type, reinterpret_cast<uint32_t*>(shared));
  __syncthreads();
  if (rows.first_matrix == nullptr) return store_absent(a, rows, input_rows, output_rows);
  const int input_row = input_rows[threadIdx.x];
  // A warp without inputs decodes with the others, and no more.
  const bool is_busy = input_rows[first_input] >= 0;

  const int n_steps = (a.n_columns + kGemmStep - 1) / kGemmStep;
  const int n_raws = (a.n_columns + kRawColumns - 1) / kRawColumns;

  // A thread copies 16 bytes of four inputs, which lie far apart and so at the same place of their rows.
  constexpr int kPieces = kGemmStep / 16;
  const int8_t* own_codes[kPieces];
#pragma unroll
  for (int turn = 0; turn < kPieces; ++turn) {
    const int row = input_rows[(turn * n_threads + threadIdx.x) / kPieces];
    own_codes[turn] = row >= 0 ? a.codes + int64_t{row} * a.n_columns : nullptr;
  }
  const int input_place = piece_at(threadIdx.x / kPieces, threadIdx.x % kPieces);
  auto copy_inputs = [&](int step) {
    std::byte* const to = shared + layout.inputs + step % 2 * n_threads * kGemmStep;
    const int column = step * kGemmStep + threadIdx.x % kPieces * 16;
#pragma unroll
    for (int turn = 0; turn < kPieces; ++turn)
      copy_or_zeros<16>(to + input_place + turn * (n_threads / kPieces) * kGemmStep, own_codes[turn] + column,
                        own_codes[turn] != nullptr && column < a.n_columns);
    if constexpr (kIsPer32) {
      std::byte* const words = shared + layout.input_words + (step % 2 * n_threads + threadIdx.x) * 16;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int block = step * 2 + i;
        const bool is_there = input_row >= 0 && block * 32 < a.n_columns;
        const int64_t at = is_there ? int64_t{input_row} * (a.n_columns / 32) + block : 0;
        copy_or_zeros<4>(words + i * 4, a.scales + at, is_there);
        if (a.has_offsets) copy_or_zeros<4>(words + 8 + i * 4, a.sums + at, is_there);
      }
    }
  };
  auto copy_raw_step = [&](int raw) {
    if (raw < n_raws) copy_raw(a, rows, raw, shared + layout.raw + raw % 2 * kGemmRows * a.raw_pitch);
  };

  // The units of a step: 32 columns of each row, twice. Which warps take them changes with the step.
  auto decode = [&](int step) {
    const int raw = step / kStepsARaw;
    const int first = (threadIdx.x - step * 2 * kGemmRows) & (n_threads - 1);  // of 1, 2, 4 or 8 warps
#pragma unroll 1
    for (int i = first; i < 2 * kGemmRows; i += n_threads) {
      const int row = i % kGemmRows, half = i / kGemmRows;
      const int column = step * kGemmStep + half * 32;
      const int output = rows.output(row);
      GemmUnit unit;
      int part = 0;
      if (output < a.end_output && column < a.n_columns) {
        const uint32_t begin = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(rows.matrix_of(row))) +
                               static_cast<uint32_t>(output) * static_cast<uint32_t>(a.row_bytes) +
                               static_cast<uint32_t>(raw * a.raw_bytes);
        const int in_raw = column - raw * kRawColumns, block = in_raw >> a.log2_block_values;
        part = (in_raw - (block << a.log2_block_values)) / 32;
        const int at = layout.raw + (raw % 2 * kGemmRows + row) * a.raw_pitch +
                       (a.block_bytes % 16 == 0 ? 0 : static_cast<int>(begin & 15)) + block * a.block_bytes;
        unit = Family::decode(a.type, shared, at, part, table);
      } else {
        part = column % kRawColumns / 32;
      }
      std::byte* const weights = shared + layout.weights + step % 2 * kGemmRows * kGemmStep;
      *reinterpret_cast<uint4*>(weights + piece_at(row, half * 2)) =
          make_uint4(unit.codes[0], unit.codes[1], unit.codes[2], unit.codes[3]);
      *reinterpret_cast<uint4*>(weights + piece_at(row, half * 2 + 1)) =
          make_uint4(unit.codes[4], unit.codes[5], unit.codes[6], unit.codes[7]);
      if constexpr (kScaleValues < 256)
        *reinterpret_cast<uint2*>(shared + layout.words + (step % 2 * kGemmRows + row) * 16 + half * 8) =
            make_uint2(unit.words[0], unit.words[1]);
      if constexpr (!kIsPer32) {
        const int of_block = raw % 2 * kGemmRows + row;
        if (part == 0)
          *reinterpret_cast<float2*>(shared + layout.block_scales + of_block * 8) =
              make_float2(unit.scale, unit.offset_scale);
        *reinterpret_cast<uint32_t*>(shared + layout.offsets + of_block * 32 + part * 4) = unit.offsets;
      }
    }
  };

  // Sums in float32 of fragment [down][across], and, of 256 columns, in whole numbers.
  float sums[kDown][kAcross][4] = {};
  int wholes[kIsPer32 ? 1 : kDown][kIsPer32 ? 1 : kAcross][4];
#pragma unroll
  for (auto& down : wholes)
#pragma unroll
    for (auto& fragment : down)
#pragma unroll
      for (int& whole : fragment) whole = kIsMagic ? kMagicBits : 0;

  // Where a lane's rows of the fragments begin, in a step's first half; the other half is 2 pieces further, which exchanged are 32 bytes
  // further or back.
  const uint32_t base = shared_address(shared);
  const int weight_place = piece_at(lane % 16, lane / 16);
  const int first_place = piece_at(first_input + lane / 16 * 8 + lane % 8, lane / 8 % 2);
  auto multiply_step = [&](int step) {
    const uint32_t weights = base + layout.weights + step % 2 * kGemmRows * kGemmStep;
    const uint32_t inputs = base + layout.inputs + step % 2 * n_threads * kGemmStep;
#pragma unroll 1
    for (int half = 0; half < 2; ++half) {
      uint32_t w[kDown][4];
#pragma unroll
      for (int i = 0; i < kDown; ++i) load_matrices(w[i], weights + (weight_place ^ half * 32) + i * 16 * kGemmStep);
      uint32_t words[kDown][2][2];  // of rows group and group + 8
      if constexpr (kScaleValues < 256) {
#pragma unroll
        for (int i = 0; i < kDown; ++i)
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            const uint2 two = *reinterpret_cast<const uint2*>(
                shared + layout.words + (step % 2 * kGemmRows + i * 16 + r * 8 + group) * 16 + half * 8);
            words[i][r][0] = two.x;
            words[i][r][1] = two.y;
          }
      }
#pragma unroll
      for (int pair = 0; pair < kAcross / 2; ++pair) {
        uint32_t x[4];
        load_matrices(x, inputs + (first_place ^ half * 32) + pair * 16 * kGemmStep);
#pragma unroll
        for (int own = 0; own < 2; ++own) {
          const int j = pair * 2 + own;
          const uint32_t x0 = x[own * 2], x1 = x[own * 2 + 1];
          float scales[2] = {}, offsets[2] = {};  // of the input's two columns of the fragment
          if constexpr (kIsPer32) {
#pragma unroll
            for (int c = 0; c < 2; ++c) {
              const std::byte* const of_input =
                  shared + layout.input_words + (step % 2 * n_threads + first_input + j * 8 + member * 2 + c) * 16;
              scales[c] = *reinterpret_cast<const float*>(of_input + half * 4);
              if (kScaleValues == 32 && a.has_offsets)
                offsets[c] = scales[c] * static_cast<float>(*reinterpret_cast<const int*>(of_input + 8 + half * 4));
            }
          }
#pragma unroll
          for (int i = 0; i < kDown; ++i) {
            if constexpr (kScaleValues == 256) {
              multiply_16x8x32(wholes[i][j], w[i], x0, x1);
            } else if constexpr (!kIsPer32) {
              int products[4] = {};
              if constexpr (kScaleValues == 32)
                multiply_16x8x32(products, w[i], x0, x1);
              else
                multiply_16x8x16(products, w[i][0], w[i][1], x0);
#pragma unroll
              for (int e = 0; e < 4; ++e) wholes[i][j][e] += static_cast<int>(words[i][e / 2][0]) * products[e];
              if constexpr (kScaleValues == 16) {
                int others[4] = {};
                multiply_16x8x16(others, w[i][2], w[i][3], x1);
#pragma unroll
                for (int e = 0; e < 4; ++e) wholes[i][j][e] += static_cast<int>(words[i][e / 2][1]) * others[e];
              }
            } else {
              int products[4] = {kMagicBits, kMagicBits, kMagicBits, kMagicBits};
              if constexpr (kScaleValues == 32)
                multiply_16x8x32(products, w[i], x0, x1);
              else
                multiply_16x8x16(products, w[i][0], w[i][1], x0);
                // The weight's scale may be so large or small that its product with the input's is not a float while the sum is.
#pragma unroll
              for (int e = 0; e < 4; ++e)
                sums[i][j][e] = fmaf(__uint_as_float(words[i][e / 2][0]),
                                     scales[e % 2] * (__int_as_float(products[e]) - kMagic), sums[i][j][e]);
              if constexpr (kScaleValues == 16) {
                int others[4] = {kMagicBits, kMagicBits, kMagicBits, kMagicBits};
                multiply_16x8x16(others, w[i][2], w[i][3], x1);
#pragma unroll
                for (int e = 0; e < 4; ++e)
                  sums[i][j][e] = fmaf(__uint_as_float(words[i][e / 2][1]),
                                       scales[e % 2] * (__int_as_float(others[e]) - kMagic), sums[i][j][e]);
              } else if (a.has_offsets) {
#pragma unroll
                for (int e = 0; e < 4; ++e)
                  sums[i][j][e] = fmaf(__uint_as_float(words[i][e / 2][1]), offsets[e % 2], sums[i][j][e]);
              }
            }
          }
        }
      }
    }
  };

  // What 256 columns gave, to the sums in float32.
  auto add_block = [&](int block) {
    float scales[kAcross][2];
    uint32_t x[kAcross][2] = {};
#pragma unroll
    for (int j = 0; j < kAcross; ++j) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const int row = input_rows[first_input + j * 8 + member * 2 + c];
        scales[j][c] = row >= 0 ? a.scales[int64_t{row} * (a.n_columns / 256) + block] : 0.0f;
      }
      if (a.has_offsets) {
        if (const int row = input_rows[first_input + j * 8 + group]; row >= 0) {
          const int32_t* const own = a.sums + int64_t{row} * (a.n_columns / 16) + block * 16 + member * 2;
          const int2 first = *reinterpret_cast<const int2*>(own), second = *reinterpret_cast<const int2*>(own + 8);
          x[j][0] = two_halves(first.x, first.y);
          x[j][1] = two_halves(second.x, second.y);
        }
      }
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
      float2 of_rows[2];
      uint32_t w[4];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int row = block % 2 * kGemmRows + i * 16 + r * 8 + group;
        of_rows[r] = *reinterpret_cast<const float2*>(shared + layout.block_scales + row * 8);
        w[r] = *reinterpret_cast<const uint32_t*>(shared + layout.offsets + row * 32 + member * 4);
        w[r + 2] = *reinterpret_cast<const uint32_t*>(shared + layout.offsets + row * 32 + 16 + member * 4);
      }
#pragma unroll
      for (int j = 0; j < kAcross; ++j) {
        float values[4];
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int whole = wholes[i][j][e];
          values[e] = of_rows[e / 2].x * (kIsMagic ? __int_as_float(whole) - kMagic : static_cast<float>(whole));
          wholes[i][j][e] = kIsMagic ? kMagicBits : 0;
        }
        if (a.has_offsets) {
          float products[4] = {};
          multiply_add_16x8x16(products, w, x[j][0], x[j][1]);
#pragma unroll
          for (int e = 0; e < 4; ++e) values[e] = fmaf(of_rows[e / 2].y, products[e], values[e]);
        }
#pragma unroll
        for (int e = 0; e < 4; ++e) sums[i][j][e] = fmaf(scales[j][e % 2], values[e], sums[i][j][e]);
      }
    }
  };

  copy_raw_step(0);
  close_copies();
  wait_for_copies<0>();
  __syncthreads();
  // Before the first step there is nothing to multiply.
#pragma unroll 1
  for (int step = -1; step < n_steps; ++step) {
    if (step + 1 < n_steps) copy_inputs(step + 1);
    close_copies();
    // Into the buffer of this step's blocks: its last columns were decoded in the step before.
    if ((step + 1) % kStepsARaw == 0) copy_raw_step((step + 1) / kStepsARaw + 1);
    close_copies();
    if (step + 1 < n_steps) decode(step + 1);
    if (step >= 0 && is_busy) {
      multiply_step(step);
      if constexpr (!kIsPer32)
        if (step % kStepsARaw == kStepsARaw - 1) add_block(step / kStepsARaw);
    }
    wait_for_copies<1>();  // raw blocks may still be on their way
    __syncthreads();
  }

  if (!is_busy) return;
  static_assert(2 * kGemmStep >= kGemmStagedFloats * 4 / kGemmWarpInputs);
  float* const staged = reinterpret_cast<float*>(shared + layout.inputs + first_input * 2 * kGemmStep);
  store_tile(a, rows, input_rows, output_rows, sums, staged);
}

}  // namespace sluice::kernels::cuda
