// The element types of a KV cache.
#pragma once

#include <cstdint>

namespace sluice::kernels {

// How a row (the key or the value of one head, or a latent) lies in a cache; kernels/reference/cache_rows.h has the
// arithmetic:
//
//   F16    2 bytes a value      BF16   2 bytes a value, float32's exponent      F32    4 bytes a value
//   Q8_0   34 bytes for 32 values: | scale f16 | q i8 x 32 |, GGUF's block; the last block of a row is padded with zeros
enum class CacheType : uint8_t { F16, F32, BF16, Q8_0 };

// Bytes of a row of n_columns values.
constexpr int64_t cache_row_bytes(CacheType type, int64_t n_columns) {
  switch (type) {
    case CacheType::F32:
      return n_columns * 4;
    case CacheType::F16:
    case CacheType::BF16:
      return n_columns * 2;
    case CacheType::Q8_0:
      break;
  }
  return (n_columns + 31) / 32 * 34;
}

}  // namespace sluice::kernels
