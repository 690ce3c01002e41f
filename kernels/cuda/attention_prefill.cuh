// A thread block of attention on tensor cores.
//
// Its rows are pairs of a position and a query head, kRowTiles * 16 of them a warp. For each tile of kKeys positions
//
//   scores [rows, keys] = queries . keys                16-bit products, sums in floats, in registers
//   weights = exp2(scores - the row's largest so far), the sums so far made smaller where that has grown
//   sums [rows, values] += weights . values             weights go from the registers of the one product to those of the other
//
// so neither scores nor weights are ever in memory. While scores are made the values are on their way to shared memory, and the next keys
// during the rest. Of a latent cache the tile of keys is that of values, and there are two of them, which take turns; a row's sums are too
// many for one warp, so kColumnWarps of them share its rows: each adds up its part of the key's columns for the scores, they exchange
// these, and each makes its part of the value's columns.
//
// Where attention is split the tiles are those of one piece of the context, and what a row has in the end (largest, total, sums) goes to scratch
// instead of sums / total to the output.
#pragma once

#include <cfloat>

#include "kernels/cuda/attention_pieces.cuh"
#include "kernels/cuda/attention_shape.cuh"
#include "kernels/cuda/cache_tile.cuh"

namespace sluice::kernels::cuda {

// blockIdx: rows of the run, the last ones first because they see most; key head; run, one piece after another.
template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads) attend_tiles(const PrefillArguments a) {
  constexpr int kRowTiles = Shape::kRowTiles, kKeyTiles = Shape::kKeyTiles, kKeys = Shape::kKeys;
  extern __shared__ __align__(128) std::byte shared[];
  __half* const key_tiles = reinterpret_cast<__half*>(shared);
  __half* const value_tile = Shape::kIsLatent ? key_tiles : reinterpret_cast<__half*>(shared + Shape::kKeyTileBytes);
  __half* const query_tile = reinterpret_cast<__half*>(shared + Shape::kKeyTileBytes + Shape::kValueTileBytes);
  float4* const partials = reinterpret_cast<float4*>(query_tile + Shape::kQueryBytes / 2);
  float* const row_factors = reinterpret_cast<float*>(reinterpret_cast<std::byte*>(partials) + Shape::kPartialBytes);
  int32_t* const row_visible = reinterpret_cast<int32_t*>(row_factors + Shape::kRows);
  std::byte* const key_blocks = reinterpret_cast<std::byte*>(row_visible + Shape::kRows);
  std::byte* const value_blocks = key_blocks + Shape::kKeyBlockBytes;

  float* const row_powers = reinterpret_cast<float*>(partials);  // until there are scores

  const AttentionRun run = a.runs[blockIdx.z / a.most_pieces];
  const int piece = static_cast<int>(blockIdx.z % a.most_pieces);
  const int first_row = static_cast<int>(gridDim.x - 1 - blockIdx.x) * Shape::kRows;
  const int n_rows = min(Shape::kRows, run.n_rows * a.heads_per_group - first_row);
  if (n_rows <= 0 || piece >= run.n_pieces) return;
  const int kv_head = static_cast<int>(blockIdx.y);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int row_warp = warp % Shape::kRowWarps, column_warp = warp / Shape::kRowWarps;
  const int first_own = row_warp * kRowTiles * 16;  // of the block's rows, the warp's first

  // Where row r of the block finds its queries (size columns a head) or puts its results.
  auto place_of = [&](const AttentionRun& run, int r, int64_t stride, int size) {
    const int pair = first_row + r, row = pair / a.heads_per_group, head = pair % a.heads_per_group;
    return (run.first_row + row) * stride + static_cast<int64_t>(kv_head * a.heads_per_group + head) * size;
  };

  // The first position of the block's piece of the context. From here on positions count from there.
  const int begin = a.scratch == nullptr ? 0 : piece * positions_of_piece(a.rows, run, a.page_positions);
  auto visible_of = [&](int r) {
    return static_cast<int>(a.rows[run.first_row + (first_row + r) / a.heads_per_group].n_visible) - begin;
  };
  // Up to where some of the block's rows see, or the piece ends.
  auto join_largest = [](int x) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) x = max(x, __shfl_xor_sync(0xFFFFFFFFu, x, distance));
    return x;
  };
  int end = 0;
  for (int r = lane; r < n_rows; r += 32) end = max(end, visible_of(r));
  end = join_largest(end);
  if (a.scratch != nullptr) {
    if (end == 0) return;
    if (piece + 1 < run.n_pieces) end = min(end, positions_of_piece(a.rows, run, a.page_positions));
  }

  // Each warp takes a few rows at a time.
  constexpr int kAtOnce = Shape::kQueriesInRegisters ? 1 : 4, kOwn = Shape::kKeySize / 32;
#pragma unroll 1
  for (int first = warp * kAtOnce; first < Shape::kRows; first += Shape::kThreads / 32 * kAtOnce) {
    float own[kAtOnce][kOwn];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int r = first + i;
      const float* const q = a.q + (r < n_rows ? place_of(run, r, a.q_stride, a.key_size) : 0);
#pragma unroll
      for (int c = 0; c < kOwn; ++c)
        own[i][c] = r < n_rows && c * 32 + lane < a.key_size ? q[c * 32 + lane] * a.scale : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int r = first + i;
      float magnitude = 0;
#pragma unroll
      for (int c = 0; c < kOwn; ++c) magnitude = fmaxf(magnitude, fabsf(own[i][c]));
#pragma unroll
      for (int distance = 16; distance > 0; distance /= 2)
        magnitude = fmaxf(magnitude, __shfl_xor_sync(0xFFFFFFFFu, magnitude, distance));
      float power, inverse;
      power_for_f16(magnitude, power, inverse);
      if (!Shape::kQueriesInRegisters) {
#pragma unroll
        for (int c = 0; c < kOwn; ++c)
          query_tile[r * Shape::kKeySize + swizzled_piece(r, c * 4 + lane / 8) + lane % 8] =
              __float2half_rn(own[i][c] * power);
      }
      if (lane == 0) {
        row_factors[r] = inverse * 1.4426950408889634f;
        if (Shape::kQueriesInRegisters) row_powers[r] = power;
        row_visible[r] = r < n_rows ? visible_of(r) : 0;
      }
    }
  }
  __syncthreads();

  // Up to where some of the warp's rows see.
  int own_end = 0;
  for (int i = lane; i < kRowTiles * 16; i += 32) own_end = max(own_end, row_visible[first_own + i]);
  own_end = join_largest(own_end);

  // Queries as the left side of products: rows l / 4 and l / 4 + 8, columns 2 (l % 4) and the next, and those eight further on.
  uint32_t own_queries[Shape::kQueriesInRegisters ? kRowTiles : 1][Shape::kQueriesInRegisters ? Shape::kKeySteps : 1]
                      [4];
  if constexpr (Shape::kQueriesInRegisters) {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int r = first_own + m * 16 + half * 8 + lane / 4;
        const float* const q = a.q + (r < n_rows ? place_of(run, r, a.q_stride, a.key_size) : 0);
        const float power = row_powers[r] * a.scale;
        auto value = [&](int column) { return r < n_rows && column < a.key_size ? q[column] * power : 0.0f; };
#pragma unroll
        for (int k = 0; k < Shape::kKeySteps; ++k) {
          const int column = (k * Shape::kColumnWarps + column_warp) * 16 + lane % 4 * 2;
          own_queries[m][k][half] = f16_pair(value(column), value(column + 1));
          own_queries[m][k][half + 2] = f16_pair(value(column + 8), value(column + 9));
        }
      }
  }
  const RowPieces query_pieces(query_tile, Shape::kKeySize, first_own + lane % 16, lane / 16);
  auto queries_of = [&](int m, int k, uint32_t(&to)[4]) {
    if constexpr (Shape::kQueriesInRegisters) {
#pragma unroll
      for (int i = 0; i < 4; ++i) to[i] = own_queries[m][k][i];
    } else {
      load_matrices(to, query_pieces.at(k * 2, m * 16 * Shape::kKeySize * 2));
    }
  };

  const AttentionRow& row = a.rows[run.first_row];
  const int first_page = begin / a.page_positions;
  PageWalk key_walk(row.key_pages + first_page, kv_head * a.key_head_bytes, a.page_positions);
  PageWalk value_walk(row.value_pages + first_page, kv_head * a.value_head_bytes, a.page_positions);
  auto load_keys = [&](__half* tile, int first) {
    load_cache_tile<kKeys, Shape::kKeySize, Shape::kThreads>(tile, key_walk.next(kKeys, a.key_row_bytes),
                                                             a.key_row_bytes, end - first, a.key_size, a.copy);
  };
  auto load_values = [&](int first) {
    load_cache_tile<kKeys, Shape::kValueSize, Shape::kThreads>(value_tile, value_walk.next(kKeys, a.value_row_bytes),
                                                               a.value_row_bytes, end - first, a.value_size, a.copy);
  };

  float sums[kRowTiles][Shape::kValueTiles][4] = {};
  float largest[kRowTiles][2], total[kRowTiles][2] = {};  // total: of the lane's own columns
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) largest[m][0] = largest[m][1] = -FLT_MAX;

  // Blocks of Q8_0 are on their way while the tile before theirs is used.
  const bool are_blocks = a.copy == CacheCopy::Blocks;
  auto begin_blocks = [&](int first) {
    const int n_rows = min(kKeys, end - first);
    copy_blocks<Shape::kKeyBlockBytes, Shape::kThreads>(key_blocks, key_walk.next(kKeys, a.key_row_bytes),
                                                        n_rows * a.key_row_bytes);
    if (!Shape::kIsLatent)
      copy_blocks<Shape::kValueBlockBytes, Shape::kThreads>(value_blocks, value_walk.next(kKeys, a.value_row_bytes),
                                                            n_rows * a.value_row_bytes);
  };
  auto finish_blocks = [&](__half* keys, int first) {
    load_cache_tile<kKeys, Shape::kKeySize, Shape::kThreads>(keys, key_blocks, a.key_row_bytes, end - first, a.key_size,
                                                             CacheCopy::Q8_0);
    if (!Shape::kIsLatent)
      load_cache_tile<kKeys, Shape::kValueSize, Shape::kThreads>(value_tile, value_blocks, a.value_row_bytes,
                                                                 end - first, a.value_size, CacheCopy::Q8_0);
  };

  if (end > 0) {
    if (are_blocks)
      begin_blocks(0);
    else
      load_keys(key_tiles, 0);
  }
#pragma unroll 1
  for (int first = 0; first < end; first += kKeys) {
    const bool is_busy = first < own_end;  // the same for warps that share rows
    const int turn = first / kKeys % 2;
    finish_cache_tiles();
    __syncthreads();  // the keys are there; nobody reads any longer what is loaded now
    __half* const keys = key_tiles + (Shape::kIsLatent ? turn * kKeys * Shape::kKeySize : 0);
    if (are_blocks) {
      finish_blocks(keys, first);
      __syncthreads();  // the tiles are there, and the blocks read
      if (first + kKeys < end) begin_blocks(first + kKeys);
    } else if (!Shape::kIsLatent) {
      load_values(first);
    } else if (first + kKeys < end) {
      load_keys(key_tiles + (turn ^ 1) * kKeys * Shape::kKeySize, first + kKeys);
    }

    float scores[kRowTiles][kKeyTiles][4] = {};
    if (is_busy) {
      const RowPieces key_pieces(keys, Shape::kKeySize, lane / 16 * 8 + lane % 8, column_warp * 2 + lane / 8 % 2);
#pragma unroll
      for (int k = 0; k < Shape::kKeySteps; ++k) {
        uint32_t queries[kRowTiles][4];
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) queries_of(m, k, queries[m]);
#pragma unroll
        for (int j = 0; j < kKeyTiles; j += 2) {
          uint32_t b[4];
          load_matrices(b, key_pieces.at(k * Shape::kColumnWarps * 2, j * 8 * Shape::kKeySize * 2));
#pragma unroll
          for (int m = 0; m < kRowTiles; ++m) {
            multiply_add_16x8x16(scores[m][j], queries[m], b[0], b[1]);
            multiply_add_16x8x16(scores[m][j + 1], queries[m], b[2], b[3]);
          }
        }
      }
    }
    // Scores of a part of the columns, exchanged: [column warp, row warp, piece of the scores, lane].
    constexpr int kScorePieces = kRowTiles * kKeyTiles;
    auto partial_of = [&](int of, int m, int j) {
      return partials + ((of * Shape::kRowWarps + row_warp) * kScorePieces + m * kKeyTiles + j) * 32 + lane;
    };
    if (Shape::kColumnWarps > 1 && is_busy) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
        for (int j = 0; j < kKeyTiles; ++j)
          *partial_of(column_warp, m, j) = {scores[m][j][0], scores[m][j][1], scores[m][j][2], scores[m][j][3]};
    }
    if (!Shape::kIsLatent && !are_blocks) finish_cache_tiles();
    if (Shape::kColumnWarps > 1 || !are_blocks) {
      __syncthreads();  // the values are there, and the scores' parts; nobody reads the keys any longer
    }
    if (!Shape::kIsLatent && !are_blocks && first + kKeys < end) load_keys(keys, first + kKeys);
    const __half* const values = Shape::kIsLatent ? keys : value_tile;
    if (!is_busy) continue;
    if (Shape::kColumnWarps > 1) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
        for (int j = 0; j < kKeyTiles; ++j) {
          float4 sum = *partial_of(0, m, j);
#pragma unroll
          for (int of = 1; of < Shape::kColumnWarps; ++of) {
            const float4 part = *partial_of(of, m, j);
            sum = {sum.x + part.x, sum.y + part.y, sum.z + part.z, sum.w + part.w};
          }
          scores[m][j][0] = sum.x;
          scores[m][j][1] = sum.y;
          scores[m][j][2] = sum.z;
          scores[m][j][3] = sum.w;
        }
    }

    // Of each tile of 16 rows, lane l has rows l / 4 and l / 4 + 8.
    const int first_of_lane = first_own + lane / 4;
    if (__any_sync(0xFFFFFFFFu, row_visible[first_own + lane % (kRowTiles * 16)] < first + kKeys)) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int n_seen = row_visible[first_of_lane + m * 16 + half * 8] - first - lane % 4 * 2;
#pragma unroll
          for (int j = 0; j < kKeyTiles; ++j)
#pragma unroll
            for (int i = 0; i < 2; ++i)
              if (j * 8 + i >= n_seen) scores[m][j][half * 2 + i] = -INFINITY;
        }
    }

    float shrink[kRowTiles][2];
    bool has_grown = false;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float factor = row_factors[first_of_lane + m * 16 + half * 8];
        float now = -INFINITY;
#pragma unroll
        for (int j = 0; j < kKeyTiles; ++j) now = fmaxf(now, fmaxf(scores[m][j][half * 2], scores[m][j][half * 2 + 1]));
        now = fmaxf(largest[m][half], largest_of_row(now));
        shrink[m][half] = power_of_two((largest[m][half] - now) * factor);
        has_grown |= now != largest[m][half];
        largest[m][half] = now;
        float sum = 0;
#pragma unroll
        for (int j = 0; j < kKeyTiles; ++j)
#pragma unroll
          for (int i = half * 2; i < half * 2 + 2; ++i) {
            scores[m][j][i] = power_of_two((scores[m][j][i] - now) * factor);
            sum += scores[m][j][i];
          }
        total[m][half] = fmaf(total[m][half], shrink[m][half], sum);
      }
    if (__any_sync(0xFFFFFFFFu, has_grown)) {  // where a row's largest has not, shrink is 1
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
        for (int j = 0; j < Shape::kValueTiles; ++j)
#pragma unroll
          for (int i = 0; i < 4; ++i) sums[m][j][i] *= shrink[m][i / 2];
    }

    constexpr int kRowValues = Shape::kIsLatent ? Shape::kKeySize : Shape::kValueSize;
    const RowPieces value_pieces(values + column_warp * Shape::kValueTiles * 8, kRowValues, lane % 16, lane / 16);
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      uint32_t weights[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          weights[m][i] = f16_pair(scores[m][k * 2 + i / 2][i % 2 * 2], scores[m][k * 2 + i / 2][i % 2 * 2 + 1]);
#pragma unroll
      for (int j = 0; j < Shape::kValueTiles; j += 2) {
        uint32_t b[4];
        load_matrices_transposed(b, value_pieces.at(j, k * 16 * kRowValues * 2));
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          multiply_add_16x8x16(sums[m][j], weights[m], b[0], b[1]);
          multiply_add_16x8x16(sums[m][j + 1], weights[m], b[2], b[3]);
        }
      }
    }
  }

  // Read once more, so that it takes no registers meanwhile.
  const AttentionRun& same_run = a.runs[blockIdx.z / a.most_pieces];
  // Where the block's piece of row r lies in scratch.
  auto piece_of = [&](int r) {
    const int pair = first_row + r, row = pair / a.heads_per_group, head = pair % a.heads_per_group;
    const int64_t of_run = (int64_t{row} * gridDim.y + kv_head) * a.heads_per_group + head;
    return a.scratch +
           (same_run.first_piece + of_run * same_run.n_pieces + blockIdx.z % a.most_pieces) * a.piece_floats;
  };
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = first_own + m * 16 + half * 8 + lane / 4;
      const float sum = sum_of_row(total[m][half]);
      if (r >= n_rows) continue;
      const int first_column = column_warp * Shape::kValueTiles * 8 + lane % 4 * 2;
      if (a.scratch != nullptr) {
        if (row_visible[r] <= 0) continue;  // nobody reads it
        float* const own = piece_of(r);
#pragma unroll
        for (int j = 0; j < Shape::kValueTiles; ++j) {
          const int column = first_column + j * 8;
          const float2 both{sums[m][j][half * 2], sums[m][j][half * 2 + 1]};
          if (column + 1 < a.value_size)
            *reinterpret_cast<float2*>(own + column) = both;
          else if (column < a.value_size)
            own[column] = both.x;
        }
        if (column_warp == 0 && lane % 4 == 0) {
          own[a.value_size] = largest[m][half] * row_factors[r] * 0.6931471805599453f;  // of scores as exp() takes them
          own[a.value_size + 1] = sum;
        }
        continue;
      }
      const float inverse = row_visible[r] > 0 ? 1.0f / sum : 0.0f;
      float* const out = a.out + place_of(same_run, r, a.out_stride, a.value_size);
#pragma unroll
      for (int j = 0; j < Shape::kValueTiles; ++j) {
        const int column = first_column + j * 8;
        if (column < a.value_size) out[column] = sums[m][j][half * 2] * inverse;
        if (column + 1 < a.value_size) out[column + 1] = sums[m][j][half * 2 + 1] * inverse;
      }
    }
}

}  // namespace sluice::kernels::cuda
