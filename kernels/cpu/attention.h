// Softmax attention over paged keys and values, on the CPU.
#pragma once

#include <cstdint>

#include "kernels/cpu/thread_pool.h"

namespace sluice::kernels {

// Keys and values of one sequence; see CacheView of the engine for the layout. Elements are float16 or float32.
struct KeysAndValues {
  const void* const* key_pages = nullptr;
  const void* const* value_pages = nullptr;
  int64_t page_positions = 0;  // a multiple of kContextPiece, or no less than the positions in use
  bool half = false;
  int64_t key_stride = 0;  // elements
  int64_t value_stride = 0;
  int64_t key_head_stride = 0;
  int64_t value_head_stride = 0;
};

// The sums over the context are taken in pieces of this many positions, merged in order.
inline constexpr int64_t kContextPiece = 128;

struct AttentionRow {
  const float* query = nullptr;  // [n_heads * key_size]
  const KeysAndValues* context = nullptr;
  int64_t n_visible = 0;  // positions [0, n_visible), at least 1
  float* out = nullptr;   // [n_heads * value_size]
};

struct AttentionHeads {
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;  // divides n_heads
  int64_t key_size = 0;
  int64_t value_size = 0;
  float scale = 1;
};

void attend(ThreadPool& pool, const AttentionHeads& heads, const AttentionRow* rows, int64_t n_rows);

}  // namespace sluice::kernels
