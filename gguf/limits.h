// What no real file exceeds. A file beyond these is damaged or hostile, and is refused before anything is allocated for
// it.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>

namespace sluice::gguf {

inline constexpr uint64_t kMaxKeys = 1 << 16;
inline constexpr uint64_t kMaxKeyBytes = 65535;  // the format's own limit
inline constexpr uint64_t kMaxTensors = 1 << 20;
inline constexpr uint64_t kMaxTensorNameBytes = 1024;  // the format allows 64; some files have more
inline constexpr uint32_t kMaxArrayDepth = 4;          // arrays within arrays
// Memory that all values of one file may take once read. The largest vocabularies take about 50 MiB.
inline constexpr uint64_t kMaxMetadataMemory = uint64_t{512} << 20;

// The format wants a multiple of 8, which also keeps every tensor fit to be read as 64-bit numbers.
inline constexpr uint64_t kDefaultAlignment = 32;
inline constexpr uint64_t kMinAlignment = 8;
inline constexpr uint64_t kMaxAlignment = uint64_t{1} << 26;

inline constexpr bool is_valid_alignment(uint64_t alignment) {
  return alignment >= kMinAlignment && alignment <= kMaxAlignment && (alignment & (alignment - 1)) == 0;
}

// Arithmetic that gives nothing instead of wrapping round.
inline constexpr std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  if (a > std::numeric_limits<uint64_t>::max() - b) return std::nullopt;
  return a + b;
}
inline constexpr std::optional<uint64_t> checked_multiply(uint64_t a, uint64_t b) {
  if (b != 0 && a > std::numeric_limits<uint64_t>::max() / b) return std::nullopt;
  return a * b;
}
// Rounds up to a multiple of a power of two.
inline constexpr std::optional<uint64_t> checked_align(uint64_t value, uint64_t alignment) {
  std::optional<uint64_t> sum = checked_add(value, alignment - 1);
  if (!sum) return std::nullopt;
  return *sum & ~(alignment - 1);
}

}  // namespace sluice::gguf
