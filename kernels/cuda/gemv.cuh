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
// (bytes.cuh). Blocks whose size is a multiple of 16 begin at multiples of 16 in shared memory: as their matrices do nearly always,
// and where one does not, its bytes are moved by ordinary loads.
//
// A unit is what a lane decodes at a time, 32 or 64 weights as a rule. A row of n units is walked by a group of 1 to 32 lanes, unit
// lane, lane + lanes, ...; the warp has 32 / lanes groups, each with a row of its own. How many lanes follows from the number of
// columns alone, so a sum has the same bits however many rows and inputs a launch has.
//
// An output row has passes: one for a plain product, two for gate and up, one for each chosen expert for down.
#pragma once

#include "kernels/cuda/bytes.cuh"
#include "kernels/cuda/clock.cuh"
#include "kernels/cuda/gemv_arguments.h"
#include "kernels/cuda/gemv_shape.h"
#include "kernels/cuda/input.cuh"
#include "kernels/cuda/quantize_outputs.cuh"
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
    const ExpertPlace place = a.places != nullptr ? a.places[a.ids[blockIdx.y]]
                                                  : ExpertPlace{a.weights, a.weights + a.matrix_stride, nullptr};
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

// Copies of 16 bytes from a multiple of 16 on, as many as hold n_bytes, by a warp: kTurn of each lane at once.
template <int kTurn>
__device__ inline void copy_inside(std::byte* shared, const std::byte* from, int n_bytes, int lane) {
  from += lane * 16;
  shared += lane * 16;
#pragma unroll 1
  for (int left = n_bytes - lane * 16; left > 0; left -= kTurn * 512) {
#pragma unroll
    for (int k = 0; k < kTurn; ++k)
      if (left > k * 512) copy_16(shared + k * 512, from + k * 512);
    from += kTurn * 512;
    shared += kTurn * 512;
  }
}

// The same where only bytes from `begin` to `end` may be touched; the others become zeros.
__device__ inline void copy_at_edge(std::byte* shared, const std::byte* from, int n_bytes, int lane,
                                    const std::byte* begin, const std::byte* end) {
#pragma unroll 1
  for (int at = lane * 16; at < n_bytes; at += 512) {
    if (from + at >= begin && from + at + 16 <= end) {
      copy_16(shared + at, from + at);
      continue;
    }
#pragma unroll 1
    for (int i = at; i < at + 16; ++i) shared[i] = from + i >= begin && from + i < end ? from[i] : std::byte{0};
  }
}

// Bytes that begin at any multiple of 2, to a multiple of 16, so that they can be decoded like all others.
__device__ inline void copy_aligning(std::byte* shared, const std::byte* from, int n_bytes, int lane) {
#pragma unroll 4
  for (int at = lane * 2; at < n_bytes; at += 64)
    *reinterpret_cast<uint16_t*>(shared + at) = *reinterpret_cast<const uint16_t*>(from + at);
}

// How far behind a multiple of 16 an address is.
__device__ inline int bytes_behind_16(const std::byte* address) {
  return static_cast<int>(reinterpret_cast<uintptr_t>(address) & 15);
}

template <class Format>
inline constexpr int kMostWarps = Format::kTableBytes > 0 ? kGemvWarpsBesideTable : kGemvWarps;
// That an SM's registers must do for: with several inputs units of 64 weights need more of them.
template <class Format, int kInputs>
inline constexpr int kLeastWarpsAnSm = Format::kTableBytes == 0 && kInputs > 1 ? 20 : 24;

// The thread block `block_x` of a product (in x; y and z are those of the grid).
template <class Format, int kInputs>
__device__ __forceinline__ void multiply_block(const GemvArguments& a, int block_x) {
  constexpr bool kIsAligned = Format::kBlockBytes % 16 == 0;  // in shared memory, wherever its matrix begins
  constexpr int kPieceBytes = Format::kTableBytes > 0 ? kGemvPieceBytesBesideTable : kGemvPieceBytes;
  constexpr int kTurn = (kPieceBytes + 15 + 511) / 512;  // a lane's copies of a piece
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
  // The warp's first row, which is its first group's; a round takes n_groups.
  const int first_row = (block_x * n_warps + warp) * a.n_rounds * n_groups;
  const int rounds_left = (a.n_outputs - first_row + n_groups - 1) / n_groups;
  const int n_rounds = min(a.n_rounds, max(rounds_left, 0));
  const int n_stages = n_rounds * n_passes * a.n_pieces;
  const int slot_bytes = n_groups * a.slot_bytes;
  const int ring = Format::kTableBytes + warp * kGemvSlots * slot_bytes, ring_end = ring + kGemvSlots * slot_bytes;
  const int blocks_a_row = a.units_a_row / Format::kUnitsABlock,
            blocks_a_piece = a.units_a_piece / Format::kUnitsABlock;
  const int last_piece_bytes = static_cast<int>(a.row_bytes - int64_t{a.n_pieces - 1} * a.piece_bytes);

  const int first_input = blockIdx.y * kInputs;
  const GemvMode mode = kInputs > 1 ? GemvMode::Products : a.mode;  // experts have one input each
  const int n_inputs = mode == GemvMode::Products ? min(kInputs, a.n_inputs - first_input) : 1;
  float* const output = a.output + blockIdx.z * a.output_matrix_stride + blockIdx.y * kInputs * a.output_stride;
  if (n_passes == 0) {  // experts that are not here
#pragma unroll 1
    for (int round = 0; round < n_rounds; ++round)
      if (const int row = first_row + round * n_groups + group; member == 0 && row < a.n_outputs) output[row] = 0;
    return;
  }

  // A stage: a piece of each group's row, in a pass.
  struct Stage {
    const std::byte* begin;  // of the first group's piece; those of the next rows lie row_bytes apart
    int row = 0, pass = 0, piece = 0;
  };
  auto begin_row = [&](Stage& stage) { stage.begin = passes[stage.pass].matrix + stage.row * a.row_bytes; };
  auto advance = [&](Stage& stage) {
    stage.begin += a.piece_bytes;
    if (++stage.piece < a.n_pieces) return;
    stage.piece = 0;
    if (++stage.pass == n_passes) {
      stage.pass = 0;
      stage.row += n_groups;
    }
    begin_row(stage);
  };
  auto slot_behind = [&](int slot) { return slot + slot_bytes == ring_end ? ring : slot + slot_bytes; };
  // All lanes copy the piece of one group after another.
  auto copy = [&](const Stage& stage, int slot) {
    const int bytes = stage.piece + 1 < a.n_pieces ? a.piece_bytes : last_piece_bytes;
    const std::byte* begin = stage.begin;
    const int end_row = min(stage.row + n_groups, a.n_outputs);
#pragma unroll 1
    for (int row = stage.row; row < end_row; ++row, begin += a.row_bytes, slot += a.slot_bytes) {
      const int head = bytes_behind_16(begin);
      if constexpr (kIsAligned) {
        if (head == 0)
          copy_inside<kTurn>(shared + slot, begin, bytes, lane);
        else
          copy_aligning(shared + slot, begin, bytes, lane);
      } else if (row > 0 && row + 1 < a.n_outputs && a.row_bytes >= 16) {
        copy_inside<kTurn>(shared + slot, begin - head, head + bytes, lane);
      } else {
        const std::byte* const matrix = passes[stage.pass].matrix;
        copy_at_edge(shared + slot, begin - head, head + bytes, lane, matrix, matrix + a.n_outputs * a.row_bytes);
      }
    }
  };

  Stage next, current;
  next.row = current.row = first_row;
  begin_row(next);
  begin_row(current);
  int next_slot = ring, slot = ring;
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
      copy(next, next_slot);
      next_slot = slot_behind(next_slot);
      advance(next);
    }
    close_copies();
    if (i < 0) continue;

    const int row = current.row + group;
    if (i == 0 || (current.piece == 0 && n_passes > 1))
      input = Format::row(a, passes[current.pass].input_row + first_input * a.input_row_step);
    if (row < a.n_outputs) {
      const int first_block = current.piece * blocks_a_piece;
      const int n_blocks = min(blocks_a_piece, blocks_a_row - first_block);
      const int at =
          slot + group * a.slot_bytes + (kIsAligned ? 0 : bytes_behind_16(current.begin + group * a.row_bytes));
      const int step = lanes / Format::kUnitsABlock;
      auto multiply_unit = [&](int block) {
        const auto weights = Format::take(shared, at + block * Format::kBlockBytes, part, table);
        sums[0] = Format::add(weights, input, first_block + block, part, sums[0]);
#pragma unroll
        for (int j = 1; j < kInputs; ++j)
          if (j < n_inputs)
            sums[j] = Format::add(weights, Format::further(a, input, j * a.input_row_step), first_block + block, part,
                                  sums[j]);
      };
      int block = member / Format::kUnitsABlock;
      if constexpr (Format::kUnroll > 1) {
#pragma unroll 1
        for (; block + (Format::kUnroll - 1) * step < n_blocks; block += Format::kUnroll * step) {
#pragma unroll
          for (int k = 0; k < Format::kUnroll; ++k) multiply_unit(block + k * step);
        }
      }
#pragma unroll 1
      for (; block < n_blocks; block += step) multiply_unit(block);
    }
    slot = slot_behind(slot);
    if (current.piece + 1 < a.n_pieces) {
      advance(current);
      continue;
    }

#pragma unroll
    for (int j = 0; j < kInputs; ++j) {
      float product = sums[j];
      sums[j] = 0;
#pragma unroll(kInputs > 1 ? 1 : 5)
      for (int distance = 16; distance > 0; distance /= 2) {
        const float other = __shfl_xor_sync(0xFFFFFFFFu, product, distance);
        if (distance < lanes) product += other;
      }
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
        const float with_bias = a.bias != nullptr ? product + a.bias[row] : product;
        out = a.adds != 0 ? out + with_bias : with_bias;
      }
    }
    advance(current);
  }
  if constexpr (kInputs == 1) {
    if (a.after.forms.n_done == nullptr || n_rounds <= 0) return;
    // Matrices side by side make one row, experts a row each.
    const bool is_product = mode == GemvMode::Products;
    const int first_column = is_product ? blockIdx.z * a.n_outputs : 0;
    quantize_when_whole(a.after.forms, is_product ? 0 : blockIdx.y, first_column + first_row,
                        first_column + min(first_row + n_rounds * n_groups, a.n_outputs));
  }
}

// Where the last thread block by number ends: about where the launch does.
__device__ inline void note_end_of_launch(const GemvAfter& after) {
  if (after.ended != nullptr && threadIdx.x == 0 && blockIdx.x + 1 == gridDim.x && blockIdx.y + 1 == gridDim.y &&
      blockIdx.z + 1 == gridDim.z)
    *after.ended = nanoseconds();
}

template <class Format, int kInputs>
__global__ void __launch_bounds__(kMostWarps<Format> * 32, kLeastWarpsAnSm<Format, kInputs> / kMostWarps<Format>)
    multiply_rows(const GemvArguments a) {
  multiply_block<Format, kInputs>(a, blockIdx.x);
  note_end_of_launch(a.after);
}

}  // namespace sluice::kernels::cuda
