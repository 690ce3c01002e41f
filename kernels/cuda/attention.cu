// Decode attention, a thread block for a page of one row and up to kHeads query heads that share their keys.
//
//   scores [heads, positions] = scale * q . keys      keys pass through shared memory as floats, 32 columns of all positions at a time
//   weights = exp(score - the page's largest), their sum
//   sums [heads, values] = weights . values           values likewise, 32 columns at a time
//
// What each piece found (largest, sum, values) is joined by the second launch (attention_join.h), in the order of the pages.
#include "kernels/cuda/attention.h"

#include <cfloat>

#include "kernels/cuda/attention_join.h"
#include "kernels/cuda/bytes.cuh"
#include "kernels/cuda/launches.h"

namespace sluice::kernels::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kHeads = 16;       // query heads a thread block
constexpr int kPositions = 128;  // the most of a page
constexpr int kColumns = 32;     // of keys and values at a time

struct AttendArguments {
  const AttentionRow* rows;
  const float* q;
  int64_t q_stride;
  float* scratch;
  int64_t key_row_bytes, value_row_bytes;
  int64_t key_head_bytes, value_head_bytes;
  int64_t page_positions;
  int64_t most_pieces;
  int32_t n_heads;
  int32_t n_kv_heads;
  int32_t key_size;
  int32_t value_size;
  int32_t piece_floats;
  float scale;
  CacheType type;
  uint8_t unused[7];
};

// Column `column` of a row of a cache.
__device__ float cache_value(CacheType type, const std::byte* row, int column) {
  switch (type) {
    case CacheType::F32:
      return reinterpret_cast<const float*>(row)[column];
    case CacheType::F16:
      return float_of_f16(reinterpret_cast<const uint16_t*>(row)[column]);
    case CacheType::BF16:
      return __uint_as_float(static_cast<uint32_t>(reinterpret_cast<const uint16_t*>(row)[column]) << 16);
    case CacheType::Q8_0:
      break;
  }
  const std::byte* const block = row + column / 32 * 34;
  return float_of_f16(*reinterpret_cast<const uint16_t*>(block)) *
         static_cast<float>(static_cast<int8_t>(block[2 + column % 32]));
}

__device__ float largest_of_warp(float x) {
  for (int distance = 16; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, distance));
  return x;
}
__device__ float float_sum_of_warp(float x) {
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, distance);
  return x;
}

// blockIdx: page, a group's heads (kHeads of a key head at a time), row.
__global__ void __launch_bounds__(kThreads, 2) attend_page(const AttendArguments a) {
  // Columns lie apart by an odd number of words, so that neighbouring positions fall into different banks.
  __shared__ float tile[kColumns][kPositions + 1];
  __shared__ __align__(16) float q_tile[kColumns][kHeads];
  __shared__ float weights[kPositions][kHeads + 1];

  const AttentionRow row = a.rows[blockIdx.z];
  const int64_t first = blockIdx.x * a.page_positions;
  if (first >= row.n_visible) return;
  const int n_positions = static_cast<int>(min(a.page_positions, row.n_visible - first));
  const int heads_per_group = a.n_heads / a.n_kv_heads, blocks_per_group = (heads_per_group + kHeads - 1) / kHeads;
  const int kv_head = blockIdx.y / blocks_per_group, first_in_group = blockIdx.y % blocks_per_group * kHeads;
  const int first_head = kv_head * heads_per_group + first_in_group;
  const int n_heads = min(kHeads, heads_per_group - first_in_group);
  const std::byte* const keys = static_cast<const std::byte*>(row.key_pages[blockIdx.x]) + kv_head * a.key_head_bytes;
  const std::byte* const values =
      static_cast<const std::byte*>(row.value_pages[blockIdx.x]) + kv_head * a.value_head_bytes;
  const float* const q = a.q + blockIdx.z * a.q_stride + static_cast<int64_t>(first_head) * a.key_size;
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;

  // A tile of keys or values: a warp loads a position, a lane a column. Columns behind the end are zeros.
  auto load_tile = [&](const std::byte* rows, int64_t row_bytes, int first_column, int n_columns) {
    for (int i = warp; i < n_positions; i += kThreads / 32) {
      const int column = first_column + lane;
      tile[lane][i] = column < n_columns ? cache_value(a.type, rows + i * row_bytes, column) : 0.0f;
    }
  };

  // Scores. Thread t has position t % 128 and the heads of one half.
  const int position = thread % kPositions, first_own = thread / kPositions * (kHeads / 2);
  float score[kHeads / 2] = {};
  for (int column = 0; column < a.key_size; column += kColumns) {
    __syncthreads();
    load_tile(keys, a.key_row_bytes, column, a.key_size);
    for (int i = thread; i < kColumns * kHeads; i += kThreads) {
      const int head = i / kColumns, at = column + i % kColumns;
      q_tile[i % kColumns][head] = head < n_heads && at < a.key_size ? q[head * a.key_size + at] : 0.0f;
    }
    __syncthreads();
    if (position < n_positions && first_own < n_heads) {
#pragma unroll 8
      for (int c = 0; c < kColumns; ++c) {
        const float key = tile[c][position];
#pragma unroll
        for (int h = 0; h < kHeads / 2; ++h) score[h] = fmaf(q_tile[c][first_own + h], key, score[h]);
      }
    }
  }
  if (position < n_positions) {
#pragma unroll
    for (int h = 0; h < kHeads / 2; ++h) weights[position][first_own + h] = score[h] * a.scale;
  }
  __syncthreads();

  // The softmax of the page: a warp takes a head.
  auto piece_of = [&](int head) {
    return a.scratch +
           ((blockIdx.z * int64_t{a.n_heads} + first_head + head) * a.most_pieces + blockIdx.x) * a.piece_floats;
  };
  for (int head = warp; head < n_heads; head += kThreads / 32) {
    float largest = -FLT_MAX;
    for (int i = lane; i < n_positions; i += 32) largest = fmaxf(largest, weights[i][head]);
    largest = largest_of_warp(largest);
    float sum = 0;
    for (int i = lane; i < n_positions; i += 32) {
      const float weight = expf(weights[i][head] - largest);
      weights[i][head] = weight;
      sum += weight;
    }
    sum = float_sum_of_warp(sum);
    if (lane == 0) {
      piece_of(head)[a.value_size] = largest;
      piece_of(head)[a.value_size + 1] = sum;
    }
  }

  // Values. Lane l of a warp has column l of the tile and two of the heads.
  for (int column = 0; column < a.value_size; column += kColumns) {
    __syncthreads();
    load_tile(values, a.value_row_bytes, column, a.value_size);
    __syncthreads();
    const int head = warp * 2;
    if (head >= n_heads) continue;
    float sums[2] = {};
#pragma unroll 4
    for (int i = 0; i < n_positions; ++i) {
      const float value = tile[lane][i];
      sums[0] = fmaf(weights[i][head], value, sums[0]);
      sums[1] = fmaf(weights[i][head + 1], value, sums[1]);
    }
    if (column + lane >= a.value_size) continue;
    piece_of(head)[column + lane] = sums[0];
    if (head + 1 < n_heads) piece_of(head + 1)[column + lane] = sums[1];
  }
}

}  // namespace

void attend(Launches& list, const AttentionCall& call) {
  require(call.n_kv_heads > 0 && call.n_heads > 0 && call.n_heads % call.n_kv_heads == 0,
          "Attention's key heads do not divide its query heads.");
  require(call.key_size > 0 && call.key_size <= 576 && call.value_size > 0 && call.value_size <= 512,
          "Attention has keys of at most 576 and values of at most 512 columns a head.");
  require(call.page_positions > 0 && call.page_positions <= kPositions, "A page of a cache has 1 to 128 positions.");
  require(call.key_row_bytes >= cache_row_bytes(call.type, call.key_size) &&
              call.value_row_bytes >= cache_row_bytes(call.type, call.value_size),
          "Rows of a cache overlap: there is too little from one to the next.");
  const int64_t alignment = call.type == CacheType::F32 ? 4 : 2;
  require(call.key_row_bytes % alignment == 0 && call.value_row_bytes % alignment == 0 &&
              call.key_head_bytes % alignment == 0 && call.value_head_bytes % alignment == 0,
          "Rows and heads of a cache must lie a multiple of their elements' size apart.");
  require(call.rows != nullptr && call.q != nullptr && call.out != nullptr && call.most_pieces >= 0 &&
              (call.scratch != nullptr || call.most_pieces == 0),
          "Attention needs its rows, queries, output and scratch in device memory.");
  check_forms(call);
  const AttendArguments arguments{call.rows,
                                  call.q,
                                  call.q_stride,
                                  call.scratch,
                                  call.key_row_bytes,
                                  call.value_row_bytes,
                                  call.key_head_bytes,
                                  call.value_head_bytes,
                                  call.page_positions,
                                  call.most_pieces,
                                  static_cast<int32_t>(call.n_heads),
                                  static_cast<int32_t>(call.n_kv_heads),
                                  static_cast<int32_t>(call.key_size),
                                  static_cast<int32_t>(call.value_size),
                                  static_cast<int32_t>(attention_piece_floats(call.value_size)),
                                  call.scale,
                                  call.type,
                                  {}};
  const int64_t blocks_per_group = divide_up(call.n_heads / call.n_kv_heads, kHeads);
  append_launch(list, "Attention", reinterpret_cast<const void*>(attend_page), "attend",
                {call.most_pieces, call.n_kv_heads * blocks_per_group, call.n_rows}, kThreads, 0, arguments);
  join_pages(list, call);
}

}  // namespace sluice::kernels::cuda
