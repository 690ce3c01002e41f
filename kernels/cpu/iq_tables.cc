#include "kernels/cpu/iq_tables.h"

#include <cstddef>

#include "kernels/reference/iq_grids.h"

namespace sluice::kernels {
namespace {

template <typename Entry = uint64_t, typename Value>
Entry pack_bytes(const Value& value) {
  Entry bytes = 0;
  for (int i = 0; i < static_cast<int>(sizeof(Entry)); ++i)
    bytes |= static_cast<Entry>(static_cast<uint8_t>(value(i))) << (8 * i);
  return bytes;
}

// Numbers of `bits` bits for magnitudes that lie about `step` apart, half of an entry a byte, and both halves as a word.
template <typename Entry, size_t kCount>
void number_magnitudes(const Entry (&entries)[kCount], int bits, int step, uint8_t (&numbers)[2][kCount],
                       uint16_t (*words)[kCount] = nullptr) {
  constexpr int kColumns = sizeof(Entry) / 2;
  for (size_t e = 0; e < kCount; ++e) {
    for (int h = 0; h < 2; ++h) {
      int byte = 0;
      for (int i = 0; i < kColumns; ++i)
        byte |= static_cast<int>(entries[e] >> (8 * (kColumns * h + i)) & 255) / step << (bits * i);
      numbers[h][e] = static_cast<uint8_t>(byte);
    }
    if (words != nullptr) (*words)[e] = static_cast<uint16_t>(numbers[0][e] | numbers[1][e] << 8);
  }
}

IqTables unpack() {
  IqTables tables;
  for (int e = 0; e < 2048; ++e)
    tables.iq1[e] = pack_bytes([&](int i) { return reference::iq1_value(reference::kGridIq1[e], i) + 1; });
  for (int e = 0; e < 2048; ++e)
    tables.iq1_two_bits[e] = static_cast<uint32_t>(tables.iq1[e] & 0x03030303) |
                             static_cast<uint32_t>(tables.iq1[e] >> 32 & 0x03030303) << 2;
  for (int e = 0; e < 256; ++e)
    tables.iq2_xxs[e] = pack_bytes([&](int i) { return reference::iq2_value(reference::kGridIq2Xxs[e], i); });
  for (int e = 0; e < 512; ++e)
    tables.iq2_xs[e] = pack_bytes([&](int i) { return reference::iq2_value(reference::kGridIq2Xs[e], i); });
  for (int e = 0; e < 1024; ++e)
    tables.iq2_s[e] = pack_bytes([&](int i) { return reference::iq2_value(reference::kGridIq2S[e], i); });
  for (int e = 0; e < 256; ++e)
    tables.iq3_xxs[e] =
        pack_bytes<uint32_t>([&](int i) { return reference::iq3_xxs_value(reference::kGridIq3Xxs[e], i); });
  for (int e = 0; e < 512; ++e)
    tables.iq3_s[e] = pack_bytes<uint32_t>([&](int i) { return reference::iq3_s_value(reference::kGridIq3S[e], i); });
  for (uint32_t e = 0; e < 128; ++e)
    tables.signs[e] = pack_bytes([&](int i) { return (reference::iq_signs(e) >> i & 1) != 0 ? -1 : 1; });
  number_magnitudes(tables.iq2_xxs, 2, 16, tables.iq2_xxs_two_bits, &tables.iq2_xxs_words);
  number_magnitudes(tables.iq2_xs, 2, 16, tables.iq2_xs_two_bits, &tables.iq2_xs_words);
  number_magnitudes(tables.iq2_s, 2, 16, tables.iq2_s_two_bits);
  number_magnitudes(tables.iq3_xxs, 3, 8, tables.iq3_xxs_three_bits, &tables.iq3_xxs_words);
  number_magnitudes(tables.iq3_s, 3, 2, tables.iq3_s_three_bits, &tables.iq3_s_words);
  for (uint32_t e = 0; e < 128; ++e) tables.sign_bits[e] = static_cast<uint8_t>(reference::iq_signs(e));
  return tables;
}

}  // namespace

const IqTables& iq_tables() {
  static const IqTables tables = unpack();
  return tables;
}

}  // namespace sluice::kernels
