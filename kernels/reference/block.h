// Reading blocks out of file bytes. Blocks lie at any address, and their fields are little-endian, as is every machine
// we run on.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace sluice::kernels::reference {

static_assert(std::endian::native == std::endian::little,
              "The blocks of a GGUF file are read as they lie: little-endian.");

// Block number `index` of an array of blocks. `Block` must have the format's size, without padding.
template <class Block>
Block load_block(const std::byte* blocks, int64_t index) {
  static_assert(std::is_trivially_copyable_v<Block>);
  Block block;
  std::memcpy(&block, blocks + index * static_cast<int64_t>(sizeof(Block)), sizeof(Block));
  return block;
}

template <class Block>
void store_block(const Block& block, std::byte* blocks, int64_t index) {
  static_assert(std::is_trivially_copyable_v<Block>);
  std::memcpy(blocks + index * static_cast<int64_t>(sizeof(Block)), &block, sizeof(Block));
}

}  // namespace sluice::kernels::reference
