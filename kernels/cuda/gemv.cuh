// Matrices in GGUF blocks times one or a few inputs: the skeleton that all formats share.
//
// A block of IQ1_S has 50 bytes and begins at a multiple of 2: no lane could load its own blocks with one wide load, and 2-byte
// loads are too many. So loading and decoding are two things here:
//
//   device memory   ...|  row r                                  |  row r + 1 ...       bytes, 2-byte aligned
//                      | piece 0 | piece 1 | piece 2 |
//   16-byte copies   |----|----|----|                                                  from the boundary below to the one above
//   shared memory    |  slot 0  |  slot 1  |  slot 2  |                                a ring for each warp
//
// A warp streams its rows through the ring, piece after piece, in 16-byte copies that go on in the background (cp.async; on sm_75
// ordinary 16-byte loads), kSlots - 1 pieces ahead of where it decodes. Each sector of a row comes from memory once; neighbouring
// pieces share at most one 16-byte copy, which the second-level cache serves. At the begin and the end of a matrix, where a copy
// would touch what is not ours, the bytes are loaded one by one. Decoding reads shared memory, where odd addresses cost little
// (bytes.cuh).
//
// A unit is what a lane decodes at a time, 32 weights as a rule. A row of n units is walked by a group of 1 to 32 lanes, unit
// lane, lane + lanes, ...; the warp has 32 / lanes groups, each with a row of its own. How many lanes follows from the number of
// columns alone, so a sum has the same bits however many rows and inputs a launch has.
//
// An output row has passes: one for a plain product, two for gate and up, one for each chosen expert for down.
#pragma once

#include "kernels/cuda/bytes.cuh"
#include "kernels/cuda/gemv_arguments.h"
#include "kernels/cuda/gemv_shape.h"
#include "kernels/cuda/input.cuh"
#include "kernels/cuda/silu.cuh"

namespace sluice::kernels::cuda {

struct GemvPass {
  const std::byte* matrix;
  int64_t input_row;
  float weight;
};

// The passes of this thread block, absent experts left out. Called by the first warp.
__device__ inline int list_passes(const GemvArguments& a, GemvMode mode, int lane, GemvPass* passes) {
  if (mode == GemvMode::Products) {
    if (lane == 0) passes[0] = {a.weights + blockIdx.z * a.matrix_stride, blockIdx.z * a.input_matrix_step, 1.0f};
    return 1;
  }
  if (mode != GemvMode::Down) {
    const ExpertPlace place = a.places[a.ids[blockIdx.y]];
    if (place.gate == nullptr) return 0;
    if (lane == 0) {
      passes[0] = {mode == GemvMode::Up ? place.up : place.gate, blockIdx.y / a.n_used, 1.0f};
      passes[1] = {place.up, blockIdx.y / a.n_used, 1.0f};
    }
    return mode == GemvMode::GateUp ? 2 : 1;
  }
  int n_passes = 0;
#pragma unroll 1
  for (int first = 0; first < a.n_used; first += 32) {
    const int64_t slot = static_cast<int64_t>(blockIdx.y) * a.n_used + first + lane;
    const std::byte* matrix = first + lane < a.n_used ? a.places[a.ids[slot]].down : nullptr;
    const uint32_t present = __ballot_sync(0xFFFFFFFFu, matrix != nullptr);
    if (matrix != nullptr)
      passes[n_passes + __popc(present & ((1u << lane) - 1))] = {matrix, slot, a.expert_weights[slot]};
    n_passes += __popc(present);
  }
  return n_passes;
}

// 16 bytes at a multiple of 16, in the background.
__device__ inline void copy_16(std::byte* shared, const std::byte* from) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(static_cast<uint32_t>(__cvta_generic_to_shared(shared))),
      "l"(from)
      : "memory");
#else
  *reinterpret_cast<uint4*>(shared) = *reinterpret_cast<const uint4*>(from);
#endif
}
// Closes what was copied since the last call as one group.
__device__ inline void close_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Waits for all of this lane's groups but the newest kBehind.
template <int kBehind>
__device__ inline void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kBehind) : "memory");
#endif
}

// 16 bytes of which only those from `begin` to `end` may be touched; the others become zeros.
__device__ inline void copy_part_of_16(std::byte* shared, const std::byte* from, const std::byte* begin,
                                       const std::byte* end) {
#pragma unroll 1
  for (int i = 0; i < 16; ++i) shared[i] = from + i >= begin && from + i < end ? from[i] : std::byte{0};
}

template <class Format, int kInputs>
__global__ void __launch_bounds__(kMostGemvThreads, 3) multiply_rows(const GemvArguments a) {
  extern __shared__ uint4 dynamic_shared[];
  __shared__ GemvPass passes[kMostExpertsUsed];
  __shared__ int n_passes_shared;
  std::byte* const shared = reinterpret_cast<std::byte*>(dynamic_shared);
  const uint32_t* const table = reinterpret_cast<const uint32_t*>(shared);

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n_warps = blockDim.x / 32;
  if constexpr (Format::kTableBytes > 0) Format::fill_table(reinterpret_cast<uint32_t*>(shared));
  if (warp == 0) {
    const int n = list_passes(a, kInputs > 1 ? GemvMode::Products : a.mode, lane, passes);
    if (lane == 0) n_passes_shared = n;
  }
  __syncthreads();
  const int n_passes = n_passes_shared;

  const int lanes = 1 << a.log2_lanes, n_groups = 32 >> a.log2_lanes;
  const int group = lane >> a.log2_lanes, member = lane & (lanes - 1);
  const int part = member % Format::kUnitsABlock;  // of each of its blocks: lanes are a multiple of the units in one
  // The group's first row; its next ones are n_groups further each.
  const int first_row = (blockIdx.x * n_warps + warp) * a.n_rounds * n_groups + group;
  const int rounds_left =
      (a.n_outputs - (first_row - group) + n_groups - 1) / n_groups;  // that have a row for any group
  const int n_rounds = min(a.n_rounds, max(rounds_left, 0));
  const int n_stages = n_rounds * n_passes * a.n_pieces;
  const int ring = Format::kTableBytes + warp * kGemvSlots * n_groups * a.slot_bytes + group * a.slot_bytes;

  const int first_input = blockIdx.y * kInputs;
  const GemvMode mode = kInputs > 1 ? GemvMode::Products : a.mode;  // experts have one input each
  const int n_inputs = mode == GemvMode::Products ? min(kInputs, a.n_inputs - first_input) : 1;
  float* const output = a.output + blockIdx.z * a.output_matrix_stride + blockIdx.y * kInputs * a.output_stride;
  if (n_passes == 0) {  // experts that are not here
#pragma unroll 1
    for (int round = 0; round < n_rounds; ++round)
      if (const int row = first_row + round * n_groups; member == 0 && row < a.n_outputs) output[row] = 0;
    return;
  }

  // Where a stage (a piece of a row, in a pass) lies.
  struct Stage {
    int round = 0, pass = 0, piece = 0;
  };
  auto advance = [&](Stage& stage) {
    if (++stage.piece < a.n_pieces) return;
    stage.piece = 0;
    if (++stage.pass < n_passes) return;
    stage.pass = 0;
    ++stage.round;
  };
  auto begin_of = [&](const Stage& stage) {
    const int64_t row = first_row + stage.round * n_groups;
    return passes[stage.pass].matrix + row * a.row_bytes + static_cast<int64_t>(stage.piece) * a.piece_bytes;
  };
  auto copy = [&](const Stage& stage, int slot) {
    if (first_row + stage.round * n_groups >= a.n_outputs) return;
    const std::byte* const matrix = passes[stage.pass].matrix;
    const std::byte* const matrix_end = matrix + a.n_outputs * a.row_bytes;
    const std::byte* const begin = begin_of(stage);
    const int64_t bytes = min(static_cast<int64_t>(a.piece_bytes), a.row_bytes - int64_t{stage.piece} * a.piece_bytes);
    const int head = static_cast<int>(reinterpret_cast<uintptr_t>(begin) & 15);
    const int n_bytes = head + static_cast<int>(bytes);
    std::byte* const to = shared + ring + slot * n_groups * a.slot_bytes;
#pragma unroll 1
    for (int at = member * 16; at < n_bytes; at += lanes * 16) {
      const std::byte* const from = begin - head + at;
      if (from >= matrix && from + 16 <= matrix_end)
        copy_16(to + at, from);
      else
        copy_part_of_16(to + at, from, matrix, matrix_end);
    }
  };

  Stage next, current;
  Input input{};
  float sums[kInputs] = {};
  float kept = 0;
  // The copies of stage `i + kGemvSlots - 1` are started before stage i is decoded; before the first there is nothing to decode.
#pragma unroll 1
  for (int i = 1 - kGemvSlots; i < n_stages; ++i) {
    if (i >= 0) {
      wait_for_copies<kGemvSlots - 2>();
      __syncwarp();  // the copies of all lanes are there, and all have done with the slot that is filled next
    }
    if (i + kGemvSlots - 1 < n_stages) {
      copy(next, (i + kGemvSlots - 1) % kGemvSlots);
      advance(next);
    }
    close_copies();
    if (i < 0) continue;

    const int row = first_row + current.round * n_groups;
    if (current.piece == 0) {
      const int64_t input_row = passes[current.pass].input_row + first_input * a.input_row_step;
      input = Format::row(a, input_row);
    }
    if (row < a.n_outputs) {
      const int first_block = current.piece * (a.units_a_piece / Format::kUnitsABlock);
      const int n_blocks = min(a.units_a_piece, a.units_a_row - current.piece * a.units_a_piece) / Format::kUnitsABlock;
      const int at = ring + (i % kGemvSlots) * n_groups * a.slot_bytes +
                     static_cast<int>(reinterpret_cast<uintptr_t>(begin_of(current)) & 15);
#pragma unroll Format::kUnroll
      for (int block = member / Format::kUnitsABlock; block < n_blocks; block += lanes / Format::kUnitsABlock) {
        const auto weights = Format::take(shared, at + block * Format::kBlockBytes, part, table);
        sums[0] = Format::add(weights, input, first_block + block, part, sums[0]);
#pragma unroll
        for (int j = 1; j < kInputs; ++j)
          if (j < n_inputs)
            sums[j] = Format::add(weights, Format::further(a, input, j * a.input_row_step), first_block + block, part,
                                  sums[j]);
      }
    }
    if (current.piece + 1 < a.n_pieces) {
      advance(current);
      continue;
    }

#pragma unroll
    for (int j = 0; j < kInputs; ++j) {
      float product = sums[j];
      sums[j] = 0;
#pragma unroll 1
      for (int distance = lanes / 2; distance > 0; distance /= 2)
        product += __shfl_xor_sync(0xFFFFFFFFu, product, distance);
      if (member != 0 || row >= a.n_outputs || j >= n_inputs) continue;
      float& out = output[j * a.output_stride + row];
      if (mode == GemvMode::Down) {
        kept = fmaf(passes[current.pass].weight, product, current.pass == 0 ? 0.0f : kept);
        if (current.pass + 1 == n_passes) out = kept;
      } else if (mode == GemvMode::GateUp && current.pass == 0) {
        kept = product;
      } else if (mode == GemvMode::GateUp || mode == GemvMode::Up) {
        out = silu(mode == GemvMode::Up ? out : kept) * product;
      } else {
        out = a.bias != nullptr ? product + a.bias[row] : product;
      }
    }
    advance(current);
  }
}

}  // namespace sluice::kernels::cuda
