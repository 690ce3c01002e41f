#include "kernels/cpu/resident_q4_k.h"

#include <cstring>

namespace sluice::kernels {
namespace {

using resident_q4_k::kCodeBytes;
using resident_q4_k::kHeadBytes;

// A super-block of the file: see kernels/reference/format_k.cc.
struct Block {
  uint16_t scale, min;
  uint8_t scales[12];
  uint8_t q[128];
};
static_assert(sizeof(Block) == 144);

struct Head {
  uint16_t scale[kRowGroup], min[kRowGroup];
  uint8_t group_scales[8][kRowGroup];
  uint8_t group_mins[4][kRowGroup][2];
};
static_assert(sizeof(Head) == kHeadBytes);

// Columns c to c + 3, c a multiple of 4, of a block of the file: a nibble a byte.
uint32_t four_codes(const Block& block, int c) {
  uint32_t bytes;
  std::memcpy(&bytes, block.q + c / 64 * 32 + c % 32, sizeof bytes);
  return bytes >> (c / 32 % 2 * 4) & 0x0F0F0F0F;
}

void pack(const std::byte* const* rows, int64_t n_columns, std::byte* group) {
  const int64_t n_blocks = n_columns / 256;
  for (int64_t b = 0; b < n_blocks; ++b) {
    auto* codes = reinterpret_cast<uint32_t*>(group + b * kCodeBytes);
    Head head;
    for (int64_t r = 0; r < kRowGroup; ++r) {
      Block block;
      std::memcpy(&block, rows[r] + b * static_cast<int64_t>(sizeof block), sizeof block);
      head.scale[r] = block.scale;
      head.min[r] = block.min;
      for (int g = 0; g < 8; ++g) {
        const uint8_t* p = block.scales + g % 4;
        const int s = g < 4 ? p[0] & 63 : (p[8] & 15) | p[0] >> 6 << 4;
        const int m = g < 4 ? p[4] & 63 : p[8] >> 4 | p[4] >> 6 << 4;
        head.group_scales[g][r] = static_cast<uint8_t>(s);
        head.group_mins[g / 2][r][g % 2] = static_cast<uint8_t>(m);
      }
      for (int v = 0; v < 32; ++v)
        codes[v * kRowGroup + r] = four_codes(block, 8 * v) | four_codes(block, 8 * v + 4) << 4;
    }
    std::memcpy(group + n_blocks * kCodeBytes + b * kHeadBytes, &head, sizeof head);
  }
}

void restore_row(const std::byte* group, int64_t r, int64_t n_columns, std::byte* row) {
  const int64_t n_blocks = n_columns / 256;
  for (int64_t b = 0; b < n_blocks; ++b) {
    const auto* codes = reinterpret_cast<const uint32_t*>(group + b * kCodeBytes);
    Head head;
    std::memcpy(&head, group + n_blocks * kCodeBytes + b * kHeadBytes, sizeof head);
    Block block{};
    block.scale = head.scale[r];
    block.min = head.min[r];
    for (int g = 0; g < 4; ++g) {
      const int s = head.group_scales[g][r], s_above = head.group_scales[g + 4][r];
      const int m = head.group_mins[g / 2][r][g % 2], m_above = head.group_mins[g / 2 + 2][r][g % 2];
      block.scales[g] = static_cast<uint8_t>(s | s_above >> 4 << 6);
      block.scales[g + 4] = static_cast<uint8_t>(m | m_above >> 4 << 6);
      block.scales[g + 8] = static_cast<uint8_t>((s_above & 15) | (m_above & 15) << 4);
    }
    for (int c = 0; c < 256; c += 4) {
      const uint32_t bytes = codes[c / 8 * kRowGroup + r] >> (c / 4 % 2 * 4) & 0x0F0F0F0F;
      for (int i = 0; i < 4; ++i)
        block.q[c / 64 * 32 + c % 32 + i] =
            static_cast<uint8_t>(block.q[c / 64 * 32 + c % 32 + i] | (bytes >> (8 * i) & 15) << (c / 32 % 2 * 4));
    }
    std::memcpy(row + b * static_cast<int64_t>(sizeof block), &block, sizeof block);
  }
}

}  // namespace

const ResidentForm kResidentQ4K = {gguf::TensorType::Q4_K,
                                   "8 rows side by side",
                                   kCodeBytes + kHeadBytes,
                                   pack,
                                   restore_row,
                                   {.avx2 = SLUICE_X86(avx2::multiply_resident_q4_k)}};

}  // namespace sluice::kernels
