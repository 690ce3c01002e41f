#include "kernels/reference/cache_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/reference/half.h"

namespace sluice::kernels::reference {
namespace {

constexpr int64_t kBlockValues = 32;

struct Block {
  uint16_t scale;
  int8_t q[kBlockValues];
};
static_assert(sizeof(Block) == 34);

// n_values up to a whole block; the rest are zeros.
Block make_block(const float* values, int64_t n_values) {
  constexpr uint16_t kNaN = 0x7E00;
  Block block{};
  float amax = 0;
  for (int64_t i = 0; i < n_values; ++i) {
    if (!std::isfinite(values[i])) return Block{kNaN, {}};
    amax = std::max(amax, std::fabs(values[i]));
  }
  const float inverse = 127 / amax;
  if (!std::isfinite(inverse)) return block;
  block.scale = f32_to_f16(amax / 127);
  for (int64_t i = 0; i < n_values; ++i) block.q[i] = static_cast<int8_t>(std::nearbyint(values[i] * inverse));
  return block;
}

}  // namespace

void store_cache_row(CacheType type, const float* values, int64_t n_columns, void* row) {
  switch (type) {
    case CacheType::F32:
      std::memcpy(row, values, static_cast<size_t>(n_columns) * sizeof(float));
      return;
    case CacheType::F16:
      for (int64_t i = 0; i < n_columns; ++i) static_cast<uint16_t*>(row)[i] = f32_to_f16(values[i]);
      return;
    case CacheType::BF16:
      for (int64_t i = 0; i < n_columns; ++i) static_cast<uint16_t*>(row)[i] = f32_to_bf16(values[i]);
      return;
    case CacheType::Q8_0:
      break;
  }
  for (int64_t at = 0; at < n_columns; at += kBlockValues) {
    const Block block = make_block(values + at, std::min(kBlockValues, n_columns - at));
    std::memcpy(static_cast<char*>(row) + at / kBlockValues * static_cast<int64_t>(sizeof block), &block, sizeof block);
  }
}

void load_cache_row(CacheType type, const void* row, int64_t n_columns, float* values) {
  switch (type) {
    case CacheType::F32:
      std::memcpy(values, row, static_cast<size_t>(n_columns) * sizeof(float));
      return;
    case CacheType::F16:
      for (int64_t i = 0; i < n_columns; ++i) values[i] = f16_to_f32(static_cast<const uint16_t*>(row)[i]);
      return;
    case CacheType::BF16:
      for (int64_t i = 0; i < n_columns; ++i) values[i] = bf16_to_f32(static_cast<const uint16_t*>(row)[i]);
      return;
    case CacheType::Q8_0:
      break;
  }
  for (int64_t i = 0; i < n_columns; ++i) {
    Block block;
    std::memcpy(&block, static_cast<const char*>(row) + i / kBlockValues * static_cast<int64_t>(sizeof block),
                sizeof block);
    values[i] = f16_to_f32(block.scale) * static_cast<float>(block.q[i % kBlockValues]);
  }
}

}  // namespace sluice::kernels::reference
