// The inner part of attention, for each instruction set: some query vectors against one stretch of one head's keys and
// values. attention.h plans the tiles, shares them out among threads and merges their results.
#pragma once

#include <cstdint>

#include "kernels/cache_type.h"
#include "kernels/isa.h"

namespace sluice::kernels {

// Keys and values of one sequence, in pages of page_positions positions; see CacheView of the engine. In a page the key
// of position i and head h lies at byte h * key_head_bytes + i * key_row_bytes, and so for the values. In a latent cache
// key and value are the same row: then the page lists are the same pointer and the value is the row's first columns.
struct KeysAndValues {
  const void* const* key_pages = nullptr;
  const void* const* value_pages = nullptr;
  int64_t page_positions = 0;  // a multiple of kContextPiece, or no less than the positions in use
  CacheType type = CacheType::F32;
  int64_t key_row_bytes = 0;
  int64_t value_row_bytes = 0;
  int64_t key_head_bytes = 0;
  int64_t value_head_bytes = 0;
};

// Positions whose scores are computed, and whose maximum is taken, at a time. Divides the pages of the engine.
inline constexpr int64_t kContextPiece = 64;

// Query vectors of a tile at most.
inline constexpr int64_t kTileQueries = 32;

// Room for a vector of `size` floats in a tile: whole vector registers, the last filled up with zeros.
constexpr int64_t tile_stride(int64_t size) {
  return (size + 15) / 16 * 16;
}

struct AttentionTile {
  const KeysAndValues* context = nullptr;
  int64_t kv_head = 0;
  int64_t key_size = 0;
  int64_t value_size = 0;
  float scale = 1;

  int64_t n_queries = 0;               // at most kTileQueries
  const float* queries = nullptr;      // [n_queries, tile_stride(key_size)], zeros past key_size
  const int64_t* n_visible = nullptr;  // [n_queries]: positions [0, n_visible) of the context

  // The stretch of positions, not empty; begin is a multiple of kContextPiece. Some query sees its last position.
  int64_t begin = 0;
  int64_t end = 0;

  // Results a query, over the visible positions of the stretch: the largest score, the sum of exp(score - largest) and
  // the sum of exp(score - largest) * value. A query that sees none of them gets -infinity, 0 and zeros.
  float* maxima = nullptr;    // [n_queries]
  float* sums = nullptr;      // [n_queries]
  float* weighted = nullptr;  // [n_queries, tile_stride(value_size)]

  float* scratch = nullptr;  // tile_scratch_floats(key_size, value_size), at a multiple of 64 bytes
};

// Keys, values and scores of a piece, with room to write past it in whole registers.
constexpr int64_t tile_scratch_floats(int64_t key_size, int64_t value_size) {
  return (kContextPiece + 16) * (tile_stride(key_size) + tile_stride(value_size) + kTileQueries);
}

// The result of a query depends on its vector, the stretch and what it sees alone, not on its neighbours in the tile.
using AttendTile = void(const AttentionTile& tile);

AttendTile attend_tile_baseline;
#if defined(__x86_64__)
AttendTile attend_tile_avx2, attend_tile_avx512;
#endif

// For the chosen instruction set (kernels/cpu/dispatch.h).
AttendTile* attend_tile();
// For a machine that runs at `most`.
AttendTile* attend_tile_at(Isa most);

}  // namespace sluice::kernels
