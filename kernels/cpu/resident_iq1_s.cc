#include "kernels/cpu/resident_iq1_s.h"

#include <cstring>
#include <unordered_map>

#include "kernels/cpu/iq_tables.h"

namespace sluice::kernels {
namespace {

using resident_iq1_s::kCodeBytes;
using resident_iq1_s::kHeadBytes;
using resident_iq1_s::kUnitBytes;

// A super-block of the file: see kernels/reference/format_iq1.cc.
struct Block {
  uint16_t scale;
  uint8_t q[32];
  uint16_t high[8];
};
static_assert(sizeof(Block) == 50);

struct Head {
  uint16_t scales[kRowGroup];
  uint32_t nibbles[8];
};
static_assert(sizeof(Head) == kHeadBytes);

// Eight values u of one byte each -> 16 bits, two a value, the first lowest.
uint32_t squeeze(uint64_t entry) {
  uint32_t bits = 0;
  for (int i = 0; i < 8; ++i) bits |= static_cast<uint32_t>(entry >> (8 * i) & 3) << (2 * i);
  return bits;
}

void pack(const std::byte* const* rows, int64_t n_columns, std::byte* group) {
  // Columns 0 to 3 and 4 to 7 of an entry at bits 0 and 2 of four bytes; those of columns 8 to 15 stand four bits higher.
  const uint32_t* table = iq_tables().iq1_two_bits;
  const int64_t n_blocks = n_columns / 256;
  for (int64_t b = 0; b < n_blocks; ++b) {
    std::byte* unit = group + b * kUnitBytes;
    auto* codes = reinterpret_cast<uint32_t*>(unit);
    Head head{};
    for (int64_t r = 0; r < kRowGroup; ++r) {
      Block block;
      std::memcpy(&block, rows[r] + b * static_cast<int64_t>(sizeof block), sizeof block);
      head.scales[r] = block.scale;
      for (int g = 0; g < 8; ++g) {
        head.nibbles[g] |= static_cast<uint32_t>(block.high[g] >> 12) << (4 * r);
        for (int half = 0; half < 2; ++half) {  // 16 columns: two entries
          const int l = 2 * half;
          const uint32_t first = block.q[4 * g + l] | (block.high[g] >> (3 * l) & 7u) << 8;
          const uint32_t second = block.q[4 * g + l + 1] | (block.high[g] >> (3 * l + 3) & 7u) << 8;
          codes[(2 * g + half) * kRowGroup + r] = table[first] | table[second] << 4;
        }
      }
    }
    std::memcpy(unit + kCodeBytes, &head, sizeof head);
  }
}

// From the 16 squeezed bits of an entry to its index.
uint32_t index_of(uint32_t squeezed) {
  static const std::unordered_map<uint32_t, uint32_t> indices = [] {
    std::unordered_map<uint32_t, uint32_t> made;
    for (uint32_t e = 0; e < 2048; ++e) made.emplace(squeeze(iq_tables().iq1[e]), e);
    return made;
  }();
  return indices.at(squeezed);
}

void restore_row(const std::byte* group, int64_t r, int64_t n_columns, std::byte* row) {
  const int64_t n_blocks = n_columns / 256;
  for (int64_t b = 0; b < n_blocks; ++b) {
    const std::byte* unit = group + b * kUnitBytes;
    const auto* codes = reinterpret_cast<const uint32_t*>(unit);
    Head head;
    std::memcpy(&head, unit + kCodeBytes, sizeof head);
    Block block{};
    block.scale = head.scales[r];
    for (int g = 0; g < 8; ++g) {
      block.high[g] = static_cast<uint16_t>((head.nibbles[g] >> (4 * r) & 15) << 12);
      for (int l = 0; l < 4; ++l) {
        // Column i of entry l is byte i % 4 of the row's four, at bit 4 * (l % 2) + 2 * (i / 4).
        const uint32_t four = codes[(2 * g + l / 2) * kRowGroup + r] >> (4 * (l % 2));
        uint32_t squeezed = 0;
        for (int i = 0; i < 8; ++i) squeezed |= (four >> (8 * (i % 4) + 2 * (i / 4)) & 3) << (2 * i);
        const uint32_t index = index_of(squeezed);
        block.q[4 * g + l] = static_cast<uint8_t>(index);
        block.high[g] = static_cast<uint16_t>(block.high[g] | index >> 8 << (3 * l));
      }
    }
    std::memcpy(row + b * static_cast<int64_t>(sizeof block), &block, sizeof block);
  }
}

}  // namespace

const ResidentForm kResidentIQ1S = {gguf::TensorType::IQ1_S,
                                    "ternary, 8 rows side by side",
                                    256,
                                    kUnitBytes,
                                    pack,
                                    restore_row,
                                    {.avx2 = SLUICE_X86(avx2::multiply_resident_iq1_s),
                                     .avx512_vnni = SLUICE_X86(avx512_vnni::multiply_resident_iq1_s)},
                                    {.avx2 = SLUICE_X86(avx2::fill_panel_resident_iq1_s)}};

}  // namespace sluice::kernels
