// Softmax attention over paged keys and values, on the CPU.
//
// The context is cut into stretches of kContextStretch positions. Each stretch gives a partial result (maximum, sum of
// exponentials, weighted sum of values), and the partial results are merged in the order of the stretches. So the work
// can be split over query heads, rows and stretches alike, and the result depends neither on how it was split nor on
// which rows share a pass.
#pragma once

#include <cstdint>

#include "kernels/cpu/attention_tile.h"
#include "kernels/cpu/thread_pool.h"

namespace sluice::kernels {

inline constexpr int64_t kContextStretch = 512;

struct AttentionRow {
  const float* query = nullptr;  // [n_heads * key_size]
  const KeysAndValues* context = nullptr;
  int64_t n_visible = 0;  // positions [0, n_visible), at least 1
  float* out = nullptr;   // [n_heads * value_size]
};

struct AttentionHeads {
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;  // divides n_heads; consecutive query heads share one
  int64_t key_size = 0;
  int64_t value_size = 0;
  float scale = 1;
};

// Neighbouring rows with the same context pointer share its conversion to floats.
void attend(ThreadPool& pool, const AttentionHeads& heads, const AttentionRow* rows, int64_t n_rows);

}  // namespace sluice::kernels
