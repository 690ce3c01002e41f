// Numbers in little-endian bytes, and a check sum of bytes, for the files of traces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace sluice::engine::traces {

// FNV-1a: tells damage apart, not attacks.
inline uint64_t check_sum(std::span<const std::byte> bytes) {
  uint64_t sum = 0xcbf29ce484222325;
  for (const std::byte byte : bytes) sum = (sum ^ static_cast<uint64_t>(byte)) * 0x100000001b3;
  return sum;
}
inline uint32_t short_check_sum(std::span<const std::byte> bytes) {
  const uint64_t sum = check_sum(bytes);
  return static_cast<uint32_t>(sum ^ sum >> 32);
}

template <class T>
void put(std::vector<std::byte>& bytes, T number) {
  for (size_t i = 0; i < sizeof number; ++i)
    bytes.push_back(static_cast<std::byte>(static_cast<uint64_t>(number) >> 8 * i & 0xFF));
}
inline void put_text(std::vector<std::byte>& bytes, std::string_view text) {
  const auto* raw = reinterpret_cast<const std::byte*>(text.data());
  bytes.insert(bytes.end(), raw, raw + text.size());
}

// The caller has checked that the bytes are there.
template <class T>
T take(std::span<const std::byte> bytes, size_t at) {
  uint64_t number = 0;
  for (size_t i = 0; i < sizeof(T); ++i) number |= static_cast<uint64_t>(bytes[at + i]) << 8 * i;
  return static_cast<T>(number);
}

}  // namespace sluice::engine::traces
